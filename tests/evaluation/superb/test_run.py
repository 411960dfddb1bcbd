"""The command as a user meets it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from speechssl.cli.app import main
from speechssl.errors import UserError
from speechssl.evaluation.benchmark import writing_alone
from speechssl.evaluation.encoders.contestants import _row_name
from speechssl.evaluation.superb import run, settings, training
from speechssl.evaluation.superb.reading import read_data
from speechssl.evaluation.superb.settings import SuperbSettings
from speechssl.models.hubert import HubertEncoder
from tests.evaluation.superb.conftest import SIZES, write_csv, write_task
from tests.evaluation.superb.fake_corpora import write_trials

FAST = ["steps=60", "check_every=20", "batch_size=8", "lr=[1e-1,1e-2]"]


def arguments(task: str, task_dir: Path, out: Path, encoder: Path, *settings: str) -> list[str]:
    given = [f"task={task}", f"data_dir={task_dir}", f"out_dir={out}", f"encoders={{tiny: {encoder}}}"]
    return ["evaluate", "benchmark=superb", *given, f"cache_dir={out.parent / 'cache'}", *FAST, *settings]


def superb(task: str, task_dir: Path, out: Path, encoder: Path, *settings: str) -> dict:
    assert main(arguments(task, task_dir, out, encoder, *settings)) == 0
    return json.loads((out / task / "results.json").read_text())


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("superb") / "out"


@pytest.fixture(scope="module")
def keywords(task_dir: Path, out: Path, encoder_dir: Path) -> dict:
    return superb("ks", task_dir, out, encoder_dir, "seeds=[1,2]")


def test_filterbanks_tell_the_tones(keywords: dict):
    summary = keywords["summary"]["fbank"]["accuracy"]
    assert summary["mean"] > 0.9 and summary["runs"] == 2
    assert [row["name"] for row in keywords["encoders"]] == ["fbank", "random", "tiny"]
    assert keywords["task"]["classes"] == {"label": 3} and keywords["task"]["utterances"]["train"] == 24


def test_every_rate_is_reported_and_the_best_on_validation_chosen(keywords: dict):
    for score in keywords["scores"]["tiny"]:
        tried = {one["lr"]: one["accuracy"] for one in score["tried"]}
        assert list(tried) == [0.1, 0.01]
        assert tried[score["lr"]] == max(tried.values()) == score["valid"]["accuracy"]
        assert sum(score["layer_weights"]) == pytest.approx(1, abs=1e-4)


def test_a_rate_that_diverges_is_the_worst_and_does_not_end_the_task(task_dir, tmp_path, encoder_dir, capsys, caplog):
    given = ("baselines=[]", "steps=8", "check_every=2")
    found = superb("ks", task_dir, tmp_path / "out", encoder_dir, *given, "lr=[1e36,1e-2]")
    (score,) = found["scores"]["tiny"]
    assert score["lr"] == 0.01 and score["tried"][0] == {"lr": 1e36, "diverged": True}
    assert "lr=1e+36 is too high; the other learning rates go on" in caplog.text
    assert not (tmp_path / "out" / "ks" / "runs").exists()
    assert main(arguments("ks", task_dir, tmp_path / "none", encoder_dir, *given, "lr=[1e36]")) == 1
    assert "with every one of lr=[1e+36] gradients are not finite; give lower ones" in capsys.readouterr().err


def test_groups_average_to_the_whole(keywords: dict):
    for score in keywords["scores"]["random"]:
        groups = score["groups"]["gender"]
        assert {name: group["utterances"] for name, group in groups.items()} == {"f": 4, "m": 5}
        mean = sum(group["accuracy"] * group["utterances"] for group in groups.values()) / 9
        assert mean == pytest.approx(score["test"]["accuracy"])


def test_predictions_give_the_reported_score(keywords: dict, out: Path, task_dir: Path):
    lines = (out / "ks" / "predictions" / "tiny-1-seed2.tsv").read_text().splitlines()
    assert lines[0] == "id\tprediction" and len(lines) == 10
    truth = dict(line.split(",")[0:3:2] for line in (task_dir / "test.csv").read_text().splitlines()[1:])
    right = [json.loads(prediction)[0] == truth[name] for name, prediction in (line.split("\t") for line in lines[1:])]
    assert sum(right) / 9 == pytest.approx(keywords["scores"]["tiny"][1]["test"]["accuracy"])


def test_the_page_has_all_tasks(keywords: dict, task_dir: Path, out: Path, encoder_dir: Path, capsys):
    results = superb("pr", task_dir, out, encoder_dir, "baselines=[fbank]", "lr=[1e-2]")
    assert results["summary"]["fbank"]["per"]["mean"] < 1
    page = (out / "results.md").read_text()
    assert "KS accuracy ↑" in page and "PR per ↓" in page and "By gender" in page and "m (5)" in page
    assert "updates of 8 utterances" in page and "±" in page
    assert "per (valid)" in capsys.readouterr().out


def test_what_is_unusual_is_scored_and_told(tmp_path: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_task(tmp_path / "tones")
    files = [folder / f"test-{number}.wav" for number in range(4)]
    for file in files:
        soundfile.write(file, np.zeros(4000), 8000)
    results = superb("ks", folder, tmp_path / "out", encoder_dir, "baselines=[fbank]", "steps=4", "lr=[1e-2]")
    told = capsys.readouterr().out
    named = "; ".join(map(str, files[:3]))
    for kind, words in (("rate", "have another rate than 16 kHz and are resampled"), ("silent", "are silent")):
        assert f"superb: ks test: 4 utterances {words}: {named} and 1 more\n" in told
        assert results["remarks"][kind] == {"test": 4}
        listed = json.loads((tmp_path / "out" / "ks" / "remarks.json").read_text())[kind]
        assert listed == {"test": {f"test{number}": str(file) for number, file in enumerate(files)}}
        assert f"- test: 4 utterances {words}\n" in (tmp_path / "out" / "results.md").read_text()


def test_a_run_is_left_out_when_nothing_has_changed(keywords, task_dir, out, encoder_dir, capsys):
    assert main(arguments("ks", task_dir, out, encoder_dir, "seeds=[1,2]")) == 0
    assert "done before and unchanged" in capsys.readouterr().out


def test_changed_audio_is_evaluated_again_and_its_heads_are_not_gone_on_with(tmp_path, encoder_dir, capsys):
    folder, given = write_task(tmp_path / "task"), ("baselines=[]", "lr=[1e-1]", "steps=4", "check_every=2")
    for _ in range(2):
        superb("ks", folder, tmp_path / "out", encoder_dir, *given)
    assert capsys.readouterr().out.count("done before and unchanged") == 1
    before, settings = [], SuperbSettings("ks", str(folder), check=True)
    for file in ("train-3.wav", "test-3.wav"):
        before.append(read_data(settings)[0].fingerprint(()))
        wave, rate = soundfile.read(folder / file)
        soundfile.write(folder / file, wave[::-1], rate)
        superb("ks", folder, tmp_path / "out", encoder_dir, *given)
        assert "done before" not in capsys.readouterr().out
    assert len({*before, read_data(settings)[0].fingerprint(())}) == 3


def test_a_killed_run_goes_on_and_gives_the_same(task_dir, tmp_path, encoder_dir, monkeypatch):
    whole = superb("ks", task_dir, tmp_path / "whole", encoder_dir, "baselines=[]")
    update = training._Run.update
    updates = []

    def killed(self, *given):
        updates.append(self.step)
        if len(updates) == 90:  # in the second of two learning rates
            raise KeyboardInterrupt
        update(self, *given)

    monkeypatch.setattr(training._Run, "update", killed)
    assert main(arguments("ks", task_dir, tmp_path / "killed", encoder_dir, "baselines=[]")) != 0
    again = superb("ks", task_dir, tmp_path / "killed", encoder_dir, "baselines=[]")
    assert len(updates) == 90 + 60 - 20, "the first rate, and the second up to its last look, are not trained again"
    assert again["scores"]["tiny"][0]["test"] == whole["scores"]["tiny"][0]["test"]
    assert again["scores"]["tiny"][0]["tried"] == whole["scores"]["tiny"][0]["tried"]
    assert not (tmp_path / "killed" / "ks" / "runs").exists()


def test_an_utterance_is_encoded_once_for_all_seeds_and_rates(task_dir, tmp_path, encoder_dir, monkeypatch):
    """And never again by another command with the same cache."""
    encode, utterances = HubertEncoder.forward, []

    def counted(self, waveforms, *more):
        utterances.append(len(waveforms))
        return encode(self, waveforms, *more)

    monkeypatch.setattr(HubertEncoder, "forward", counted)
    given = ["baselines=[]", "steps=2", "check_every=1", "lr=[1e-1,1e-2]"]
    superb("ks", task_dir, tmp_path / "out", encoder_dir, *given, "seeds=[1,2]")
    assert sum(utterances) == sum(SIZES.values())
    utterances.clear()
    results = superb("ks", task_dir, tmp_path / "out", encoder_dir, *given, "seeds=[3]", "steps=3")
    assert [score["seed"] for score in results["scores"]["tiny"]] == [3] and not utterances


def test_nothing_is_chosen_by_the_labels_of_the_test_part(tmp_path: Path, encoder_dir: Path):
    """With other labels on the test part, only its scores are others."""
    folder, given = write_task(tmp_path / "task"), ("baselines=[fbank]", "encoders={}", "steps=30", "check_every=3")
    before = superb("ks", folder, tmp_path / "before", encoder_dir, *given)["scores"]["fbank"][0]
    with open(folder / "test.csv", newline="") as stream:
        rows = [{**row, "label": {"a": "b", "b": "c", "c": "a"}[row["label"]]} for row in csv.DictReader(stream)]
    write_csv(folder / "test.csv", rows)
    after = superb("ks", folder, tmp_path / "after", encoder_dir, *given)["scores"]["fbank"][0]
    assert before["step"] < 30, "the last update is not the best one"
    for chosen in ("lr", "step", "valid", "tried", "layer_weights"):
        assert after[chosen] == before[chosen]
    assert after["test"]["accuracy"] < before["test"]["accuracy"] - 0.2


def test_what_an_earlier_command_predicted_is_removed_and_what_is_gone_is_made_again(task_dir, tmp_path, encoder_dir):
    given = ("baselines=[fbank]", "steps=2", "check_every=2", "lr=[1e-2]")
    folder = tmp_path / "out" / "ks" / "predictions"

    def names() -> list[str]:
        return sorted(file.name for file in folder.iterdir())

    superb("ks", task_dir, tmp_path / "out", encoder_dir, *given, "seeds=[1,2]")
    assert names() == [f"{row}-1-seed{seed}.tsv" for row in ("fbank", "tiny") for seed in (1, 2)]
    superb("ks", task_dir, tmp_path / "out", encoder_dir, *given, "seeds=[1]")
    assert names() == ["fbank-1-seed1.tsv", "tiny-1-seed1.tsv"]
    shutil.rmtree(folder)
    superb("ks", task_dir, tmp_path / "out", encoder_dir, *given, "seeds=[1]")
    assert names() == ["fbank-1-seed1.tsv", "tiny-1-seed1.tsv"]


def test_a_broken_page_loses_no_head(task_dir, tmp_path, encoder_dir, monkeypatch):
    given = ("baselines=[]", "steps=2", "check_every=2", "lr=[1e-2]")
    monkeypatch.setattr(run.OVERVIEW.__class__, "write", lambda *given: (_ for _ in ()).throw(UserError("broken")))
    assert main(arguments("ks", task_dir, tmp_path / "out", encoder_dir, *given)) == 1
    assert list((tmp_path / "out" / "ks" / "runs").rglob("*.pt"))
    monkeypatch.undo()
    monkeypatch.setattr(training._Run, "update", lambda *given: pytest.fail("trained again"))
    superb("ks", task_dir, tmp_path / "out", encoder_dir, *given)
    assert not (tmp_path / "out" / "ks" / "runs").exists()


@pytest.mark.parametrize("content", ["{}", "[]"])
def test_a_file_that_has_no_results_is_named(task_dir, tmp_path, encoder_dir, capsys, content):
    file = tmp_path / "out" / "ks" / "results.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert main(arguments("ks", task_dir, tmp_path / "out", encoder_dir, "baselines=[]")) == 1
    errors = capsys.readouterr().err
    assert f"{file} has no results of superb: take it away" in errors and len(errors.strip().splitlines()) == 1


def test_another_version_goes_on_with_no_head(task_dir, monkeypatch):
    settings = SuperbSettings("ks", str(task_dir), check=True)
    (data,) = read_data(settings)
    frozen = SimpleNamespace(source="tiny", identity="weights")
    identities = []
    for version in ("1", "2"):
        monkeypatch.setattr(run, "__version__", version)
        identities.append(run._identity(settings, data, ["accuracy"], frozen))
    assert identities[0] != identities[1]


def test_rows_of_another_language_model_are_of_another_task(tmp_path):
    (tmp_path / "a.arpa").touch()
    settings = SuperbSettings("asr", "data", lm=str(tmp_path / "a.arpa"), check=True)
    problem = SimpleNamespace(metrics=["wer"], lower_is_better=True, facts=dict)
    facts = []
    for content in ("one", "two"):
        (tmp_path / "a.arpa").write_text(content)
        facts.append(run._facts(settings, problem, run.plan_of(settings, 1)))
    assert facts[0] != facts[1]
    without = run._facts(SuperbSettings("asr", "data", check=True), problem, run.plan_of(settings, 1))
    assert "lm" not in without


def test_the_name_of_a_row_leaves_no_folder(task_dir: Path, tmp_path: Path, encoder_dir: Path):
    given = arguments("ks", task_dir, tmp_path / "out", encoder_dir, "baselines=[]", "steps=2", "lr=[1e-2]")
    assert main([word.replace("{tiny:", "{../../a b:") for word in given]) == 0
    results = json.loads((tmp_path / "out" / "ks" / "results.json").read_text())
    assert [row["name"] for row in results["encoders"]] == ["../../a b"]
    assert [file.name for file in (tmp_path / "out" / "ks" / "predictions").iterdir()] == [".._.._a_b-1-seed1.tsv"]


@pytest.mark.parametrize("name", [".", ".."])
def test_a_row_is_not_the_folder_of_all(task_dir: Path, tmp_path: Path, encoder_dir: Path, name: str, capsys):
    given = arguments("ks", task_dir, tmp_path / "out", encoder_dir, "baselines=[]", "steps=2", "lr=[1e-2]")
    assert main([word.replace("{tiny:", f"{{{name}:") for word in given]) == 1
    assert f"encoders: '{name}' is no name for files; give it another" in capsys.readouterr().err


def test_an_encoder_in_the_folder_above_has_that_folders_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for place, source in (("mine/inner", ".."), ("mine", "."), ("mine/inner", "hf:..")):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(tmp_path / place)
        assert _row_name(source) == "mine"


def test_encoders_of_two_commands_stand_in_one_table(task_dir: Path, tmp_path: Path, encoder_dir: Path, capsys):
    """As if both had been named at once; where that is impossible, nothing is lost."""
    short = ["steps=4", "check_every=2", "lr=[1e-2]"]
    both = superb("ks", task_dir, tmp_path / "both", encoder_dir, *short, "baselines=[fbank]")
    superb("ks", task_dir, tmp_path / "apart", encoder_dir, *short, "baselines=[fbank]", "encoders={}")
    apart = superb("ks", task_dir, tmp_path / "apart", encoder_dir, *short, "baselines=[]", "batch_seconds=30")
    for key in ("encoders", "scores", "summary", "task", "remarks"):
        assert apart[key] == both[key]
    assert (tmp_path / "apart/results.md").read_text() == (tmp_path / "both/results.md").read_text()
    other = [word.replace("{tiny:", "{other:") for word in arguments("ks", task_dir, tmp_path / "apart", encoder_dir)]
    capsys.readouterr()
    assert main([*other, *short, "baselines=[random]", "seeds=[2]"]) == 1
    assert "has fbank, tiny of an earlier command" in capsys.readouterr().err


@pytest.mark.parametrize(("task", "noted"), [("sid", "hears whole utterances"), ("asv", "hears the first 8 s")])
def test_results_say_that_crops_are_off(task: str, noted: str, tmp_path: Path):
    write_trials(tmp_path / "VoxCeleb1")
    given = [f"task={task}", f"corpus_dir={tmp_path}", f"out_dir={tmp_path / 'out'}", f"cache_dir={tmp_path / 'cache'}"]
    given += ["encoders={}", "baselines=[fbank]", "steps=2", "batch_size=4", "lr=[1e-2]"]
    assert main(["evaluate", "benchmark=superb", *given]) == 0
    note = f"training {noted}"
    notes = json.loads((tmp_path / "out" / task / "results.json").read_text())["task"]["notes"]
    assert any(note in line for line in notes)
    assert note in (tmp_path / "out" / "results.md").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["task=kks"], "SUPERB has no task 'kks'; did you mean 'ks'"),
        (["head_width=8"], "head_width is for asr, sf, se, ss, whose heads are large"),
        (["head_bf16=true"], "head_bf16 is for asr, sf, se, ss, whose heads are large"),
        (["preset=half"], "preset=half is not one of full, quick"),
        (["preset=quick", "steps=5"], "preset=quick is not read with steps=5: leave one of them out"),
        (["groups=[gendr]"], "has no column 'gendr'; did you mean 'gender'"),
        (["labels=[colour]"], "has no column 'colour'"),
        (["labels=[id]"], "labels=['id']: id is no label; name columns that are learnt"),
        (["labels=[label,path]"], "path is no label; name columns that are learnt"),
        (["lr=[]"], "lr=[]"),
        (["encoders={tiny: nowhere}"], "nowhere"),
    ],
)
def test_wrong_settings_are_one_line(task_dir, tmp_path, encoder_dir, capsys, settings, message):
    assert main(arguments("ks", task_dir, tmp_path / "out", encoder_dir, *settings)) == 1
    captured = capsys.readouterr().err
    assert message in captured and len(captured.strip().splitlines()) == 1


def test_quick_is_a_tenth_of_the_published_updates():
    common = {"task": "sid", "data_dir": "d", "out_dir": "o", "encoders": {}}
    quick = run.plan_of(SuperbSettings(**common, preset="quick"), 1)
    assert (quick.steps, quick.check_every, quick.batch_size) == (20_000, 500, 32)
    assert run.plan_of(SuperbSettings(**common, steps=300), 1).check_every == 30


def test_bf16_is_refused_on_a_gpu_and_warned_of_without_instructions(
    task_dir: Path, tmp_path: Path, encoder_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    fast = ["baselines=[]", "steps=1", "lr=[1e-3]", "head_width=4", "head_bf16=true", "device=cpu"]
    monkeypatch.setattr(run, "cpu_has_bf16", lambda: False)
    superb("asr", task_dir, tmp_path / "out", encoder_dir, *fast)
    assert "this processor has no bf16 instructions" in caplog.text
    monkeypatch.setattr(settings, "pick_device", lambda name: torch.device("cuda"))
    with pytest.raises(UserError, match="head_bf16=true is for a processor: leave it out, or give device=cpu"):
        SuperbSettings("all", corpus_dir="c", out_dir="o", encoders={}, head_bf16=True)


def test_two_commands_do_not_write_the_same_results(task_dir: Path, tmp_path: Path, encoder_dir: Path, capsys):
    given = arguments("ks", task_dir, tmp_path / "out", encoder_dir, "baselines=[]", "steps=2", "lr=[1e-2]")
    told = f"another command is at work on the results in {tmp_path / 'out' / 'ks'}: wait for it"
    with writing_alone(tmp_path / "out" / "ks"):
        for _ in range(2):
            assert main(given) == 1
            errors = capsys.readouterr().err
            assert told in errors and len(errors.strip().splitlines()) == 1
    assert main(given) == 0


@pytest.mark.parametrize("task", ["pr", "asr", "ks", "sid", "ic", "sf"])
def test_another_device_gives_the_same_scores(
    task_dir: Path, tmp_path: Path, encoder_dir: Path, other_device, task: str
):
    given = ["steps=2", "check_every=1", "lr=[1e-2]", "baselines=[]", "head_width=16"]
    given = given if task in ("asr", "sf") else given[:-1]
    given += ["labels=[label,second]"] if task == "ic" else []
    (here,) = superb(task, task_dir, tmp_path / "here" / "out", encoder_dir, *given)["scores"]["tiny"]
    with other_device():
        (there,) = superb(task, task_dir, tmp_path / "there" / "out", encoder_dir, *given)["scores"]["tiny"]
    for part in ("valid", "test"):
        # One of nine utterances may be on the border of two classes.
        assert there[part] == pytest.approx(here[part], abs=0.12)
