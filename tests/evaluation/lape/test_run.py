"""The command as a user meets it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from matplotlib import image
from torch import Tensor

from speechssl.cli.app import main
from speechssl.evaluation.benchmark import writing_alone
from speechssl.evaluation.recordings import Recording
from speechssl.evaluation.vectors import vectors_name
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import HubertConfig
from speechssl.models.load import load_encoder
from speechssl.models.save import save_encoder
from tests.evaluation.lape.conftest import EACH, write_manifests

FAST = ["epochs=6", "lr=[3e-2]", "workers=1"]


def lape(out: Path, encoder: Path, *settings: str) -> dict:
    names = ["benchmark=lape", "task.name=tones", "task.column=class", "task.clip_seconds=0.5"]
    common = [*names, f"out_dir={out}", f"encoders={{tiny: {encoder}}}", *FAST]
    assert main(["evaluate", *common, *settings]) == 0
    (name,) = [setting.partition("=")[2] for setting in [*names, *settings] if setting.startswith("task.name=")][-1:]
    return json.loads((out / name / "results.json").read_text())


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lape")


@pytest.fixture(scope="module")
def results(out: Path, tones: Path, encoder_dir: Path) -> dict:
    return lape(out, encoder_dir, f"corpus_dir={tones}", "seeds=[1,2]", "label_fractions=[0.1,1]")


def test_encoders_stand_side_by_side_for_every_seed_and_label_fraction(results: dict) -> None:
    assert [row["name"] for row in results["encoders"]] == ["fbank", "random", "tiny"]
    assert results["encoders"][0]["dim"] == 80 and results["encoders"][1]["sources"] == ["random seed 1"]
    for name in ("fbank", "random", "tiny"):
        assert [(s["label_fraction"], s["seed"]) for s in results["scores"][name]] == [
            (0.1, 1),
            (0.1, 2),
            (1, 1),
            (1, 2),
        ]
        summary = results["summary"][name]["1"]["accuracy"]
        both = [score["accuracy"] for score in results["scores"][name] if score["label_fraction"] == 1]
        assert summary == {
            "mean": pytest.approx(np.mean(both)),
            "spread": pytest.approx(np.std(both, ddof=1)),
            "runs": 2,
        }


def test_tones_are_told_apart_from_filterbanks(results: dict) -> None:
    assert results["summary"]["fbank"]["1"]["accuracy"]["mean"] > 0.9 > 0.5 > results["task"]["chance"]
    assert results["task"]["clips"] == 3 * EACH and results["task"]["padded"] + results["task"]["cut"] == 3 * EACH
    (division,) = results["task"]["divisions"]
    assert division["train"] + division["valid"] + division["test"] == 3 * EACH


def test_the_confusion_matrix_counts_every_test_clip_of_every_seed(out: Path, results: dict) -> None:
    matrices = json.loads((out / "tones/confusion.json").read_text())
    for name in ("fbank", "tiny"):
        counts = matrices[name]["1"]
        total = sum(count for row in counts.values() for count in row.values())
        right = sum(row.get(true, 0) for true, row in counts.items())
        assert total == 2 * results["task"]["divisions"][0]["test"]
        assert right / total == pytest.approx(results["summary"][name]["1"]["accuracy"]["mean"])
    assert image.imread(out / "tones/confusion.png").std() > 0


def test_the_same_command_is_left_out_until_a_recording_changes(
    tmp_path: Path, tones: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = shutil.copytree(tones, tmp_path / "audio")
    given = (f"corpus_dir={audio}", "baselines=[fbank]", "seeds=[1]")
    once = lape(tmp_path / "out", encoder_dir, *given)
    capsys.readouterr()
    assert lape(tmp_path / "out", encoder_dir, *given) == once
    assert "evaluate: done before and unchanged" in capsys.readouterr().out
    (audio / "low/000.wav").unlink()
    assert lape(tmp_path / "out", encoder_dir, *given)["task"]["clips"] == 3 * EACH - 1


def test_changed_audio_of_a_data_dir_is_noticed(
    tmp_path: Path, tones: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = Path(shutil.copytree(tones, tmp_path / "audio"))
    data = write_manifests(audio, tmp_path / "data")
    given = (f"data_dir={data}", "baselines=[fbank]", "seeds=[1]", "epochs=1")
    once = lape(tmp_path / "out", encoder_dir, *given)
    wave, rate = soundfile.read(audio / "low/000.wav")
    soundfile.write(audio / "low/000.wav", wave[::-1], rate)
    capsys.readouterr()
    again = lape(tmp_path / "out", encoder_dir, *given)
    assert "done before" not in capsys.readouterr().out and again["task"]["data"] != once["task"]["data"]
    lape(tmp_path / "out", encoder_dir, *given)
    assert "evaluate: done before and unchanged" in capsys.readouterr().out


def test_distances_add_lokis_predictions_and_a_changed_table_is_noticed(
    tmp_path: Path, data_dir: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "pitches.tsv"
    lines = ["class\tlow\tmiddle\thigh", "low\t0\t1\t2", "middle\t1\t0\t1", "high\t2\t1\t0"]
    table.write_text("\n".join(lines) + "\n")
    given = (f"data_dir={data_dir}", "baselines=[fbank]", "seeds=[1,2]", "epochs=1", f"task.distances={table}")
    results = lape(tmp_path / "out", encoder_dir, *given)
    for name in ("fbank", "tiny"):
        summary, scores = results["summary"][name]["1"], results["scores"][name]
        for kind in ("mean_distance", "loki_accuracy", "loki_mean_distance"):
            assert summary[kind]["mean"] == pytest.approx(np.mean([score[kind] for score in scores]))
        wrong = json.loads((tmp_path / "out/tones/confusion.json").read_text())[name]["1"]
        steps = {"low": 0, "middle": 1, "high": 2}
        far = [count * abs(steps[a] - steps[b]) for a, row in wrong.items() for b, count in row.items()]
        tested = 2 * results["task"]["divisions"][0]["test"]
        assert summary["mean_distance"]["mean"] == pytest.approx(sum(far) / tested)
    table.write_text(table.read_text().replace("1", "4"))
    capsys.readouterr()
    names = ["benchmark=lape", "task.clip_seconds=0.5", "task.column=class", "task.name=tones"]
    other = [*names, f"out_dir={tmp_path}/out", f"encoders={{other: {encoder_dir}}}", *FAST, *given, "baselines=[]"]
    assert main(["evaluate", *other]) == 1
    assert "has fbank, tiny of an earlier command, and these cannot stand in one table" in capsys.readouterr().err
    assert lape(tmp_path / "out", encoder_dir, *given)["summary"] != results["summary"]
    table.write_text(table.read_text().replace("high", "deep"))
    capsys.readouterr()
    assert main(["evaluate", *other]) == 1
    assert "pitches.tsv has no line of the class 'high'" in capsys.readouterr().err


def test_two_runs_agree_and_numbers_do_not_depend_on_file_order_batches_or_threads(
    tmp_path: Path, out: Path, results: dict, data_dir: Path, encoder_dir: Path
) -> None:
    shuffled = shutil.copytree(data_dir, tmp_path / "data")
    for file in shuffled.glob("*.tsv"):
        first, *lines = file.read_text().splitlines()
        file.write_text("\n".join([first, *reversed(lines)]) + "\n")
    given = ("seeds=[1,2]", "label_fractions=[0.1,1]", "batch_seconds=2", "workers=3")
    again = lape(tmp_path / "out", encoder_dir, f"data_dir={shuffled}", *given)
    for name in ("fbank", "tiny"):
        assert again["scores"][name] == results["scores"][name]


def test_official_parts_and_folds(tmp_path: Path, data_dir: Path, encoder_dir: Path) -> None:
    given = (f"data_dir={data_dir}", "baselines=[]", "seeds=[1]")
    official = lape(tmp_path, encoder_dir, *given, "task.name=official", "task.split=official")
    (division,) = official["task"]["divisions"]
    sixth = 3 * EACH // 6
    assert (division["train"], division["valid"], division["test"]) == (3 * sixth, sixth, 2 * sixth)
    assert division["valid_is"] == "official"
    folds = lape(tmp_path, encoder_dir, *given, "task.name=folds", "task.split=folds", "task.fold_column=fold")
    (score,) = folds["scores"]["tiny"]
    assert [part["name"] for part in score["parts"]] == ["fold 1", "fold 2", "fold 3", "fold 4"]
    assert score["accuracy"] == pytest.approx(np.mean([part["accuracy"] for part in score["parts"]]))
    page = (tmp_path / "results.md").read_text()
    header = next(line for line in page.splitlines() if line.startswith("| encoder"))
    assert "| folds (linear, sound) | official (linear, sound) |" in re.sub(" +", " ", header)
    assert set(json.loads((tmp_path / "results.json").read_text())["tasks"]) == {"folds", "official"}


def test_every_table_of_the_papers_protocol_says_that_it_is_a_maximum(
    tmp_path: Path, data_dir: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (f"data_dir={data_dir}", "baselines=[fbank]", "seeds=[1]", "protocol=paper", "task.published={other: 81.5}")
    results = lape(tmp_path, encoder_dir, *given)
    said = "MAXIMUM of the test accuracy over the epochs"
    texts = [capsys.readouterr().out, *((tmp_path / f"results.{name}").read_text() for name in ("md", "tex", "json"))]
    assert all(said in text and "statistics are of the training part" in text for text in texts)
    assert all("81.5" in text and "published, maximum over epochs" in text for text in texts[:3])
    assert "valid" not in results["task"]["divisions"][0]
    assert not results["settings"]["standardise"]


@pytest.mark.parametrize("mode", ["linear", "finetune"])
def test_clips_without_a_frame_of_the_last_encoder_are_told_before_the_first_one_encodes(
    tmp_path: Path, tones: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    given = ["benchmark=lape", "task.clip_seconds=0.03", f"corpus_dir={tones}", f"out_dir={tmp_path / 'out'}"]
    assert main(["evaluate", *given, f"encoders={encoder_dir}", "baselines=[fbank]", f"mode={mode}"]) == 1
    assert f"clips of 0.03 s are too short for a frame of {encoder_dir}; give a larger" in capsys.readouterr().err
    assert not (tmp_path / "out/folder").exists()


def test_a_wrong_path_of_the_last_encoder_is_told_before_anything_is_read(
    tmp_path: Path, tones: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["benchmark=lape", "task.clip_seconds=1", f"corpus_dir={tones}", f"out_dir={tmp_path / 'out'}"]
    assert main(["evaluate", *given, f"encoders={{tiny: {encoder_dir}, other: {tmp_path / 'gone'}}}"]) == 1
    assert f"{tmp_path / 'gone'} does not exist" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["benchmark=lap"], "no benchmark named 'lap'; did you mean 'lape'? (known: probes, lape, hear, superb)"),
        (["benchmark=lape", "task=esc5"], "no task named 'esc5'; did you mean 'esc50'?"),
        (["benchmark=lape", "task=esc50", "out_dir=x", "encoders={}"], "give either data_dir"),
        (["benchmark=lape", "task=esc50", "out_dir=x"], "missing setting encoders: give it as encoders=VALUE"),
        (["benchmark=lape", "out_dir=x", "encoders={}", "data_dir=d"], "missing setting task.clip_seconds"),
        (["benchmark=lape", "epoch=3"], "unknown setting 'epoch' of `speechssl evaluate`; did you mean 'epochs'?"),
    ],
)
def test_a_mistake_is_one_line(settings: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *settings]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lr=[1e-3,1e-2]", "protocol=paper has no validation to choose a learning rate on"),
        (
            "label_fractions=[0,1]",
            "label_fractions=[0.0, 1.0] must list different numbers, each more than 0 and at most 1",
        ),
        ("seeds=[1,1]", "seeds=[1, 1] must list different numbers"),
        ("seeds=[4294967296]", "seeds=[4294967296] must list different numbers, each 0 or more and at most 4294967295"),
        ("lr=[inf]", "lr=[inf] must list different numbers, each more than 0"),
        ("lr=[0.1,0.10000001] protocol=sound", "lr=[0.1, 0.10000001] has numbers that are the same to six digits"),
        ("label_fractions=[0.1,0.10000001]", "label_fractions=[0.1, 0.10000001] has numbers that are the same to six"),
        ("batch_seconds=nan", "batch_seconds=nan must be more than 0"),
        ("batch_seconds=20 mode=finetune protocol=sound", "batch_seconds is given, and mode=finetune does not read it"),
        ("task.clip_seconds=0.00001", "task.clip_seconds=1e-05 is less than a sample"),
        ("epochs=0", "epochs=0 must be more than 0"),
        ("cache_gb=nan", "cache_gb=nan must be 0 or more"),
        ("task.clip_seconds=1e9", "task.clip_seconds=1000000000.0 must be more than 0 and at most 3600"),
        ("task.clip_seconds=nan", "task.clip_seconds=nan must be more than 0 and at most 3600"),
        ("task.name=manifests", "task.name=manifests cannot be a folder's name here"),
        ("finetune.sla.transformations=[slower]", "finetune.sla is set, but mode=linear does not read it"),
        ("finetune.precision=bf16", "finetune.precision is set, but mode=linear does not read it"),
        (
            "finetune.pseudo_labels.neighbours=0 mode=finetune protocol=sound",
            "finetune.pseudo_labels.neighbours=0 must be more than 0",
        ),
        ("finetune.sla.beta=2 mode=finetune protocol=sound", "finetune.sla.beta=2 is given and finetune.sla.transf"),
        ("task.metadata=a.tsv", "task.metadata=a.tsv is read where manifests are made, and data_dir has them already"),
        ("task.test_fold=null task.fold_column=null", "task.fold_column names the column of task.split=folds"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["benchmark=lape", "task=urbansound8k", "data_dir=d", "out_dir=x", "encoders={}", "protocol=paper"]
    assert main(["evaluate", *given, *setting.split()]) == 1
    assert message in capsys.readouterr().err


def test_help_is_that_of_the_benchmark_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "benchmark=lape", "--help"]) == 0
    lape_help = capsys.readouterr().out
    assert main(["evaluate", "--help"]) == 0
    probes_help = capsys.readouterr().out
    assert "  label_fractions=[1.0]" in lape_help and "  task=" in lape_help and "urbansound8k" in lape_help
    assert "  label_fractions=" not in probes_help and "  probe.columns=None" in probes_help
    assert all("  benchmark=lape --help" in text for text in (lape_help, probes_help))


def test_results_of_another_benchmark_or_command_are_not_replaced(
    tmp_path: Path, tones: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["task.name=tones", "task.column=class", "task.clip_seconds=0.5", f"encoders={{tiny: {encoder_dir}}}"]
    for other in ('{"benchmark": "hear"}', "[]"):
        (tmp_path / "results.json").write_text(other)
        assert main(["evaluate", "benchmark=lape", *given, f"corpus_dir={tones}", f"out_dir={tmp_path}"]) == 1
        assert f"out_dir={tmp_path} has a results.json of something else" in capsys.readouterr().err
    (tmp_path / "results.json").unlink()
    with writing_alone(tmp_path / "tones"):
        assert main(["evaluate", "benchmark=lape", *given, f"corpus_dir={tones}", f"out_dir={tmp_path}"]) == 1
    assert "another command is at work" in capsys.readouterr().err


def test_encoders_of_two_commands_stand_in_one_table(
    tmp_path: Path, tones: Path, encoder_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if both had been named at once; where that is impossible, nothing is lost."""
    audio = shutil.copytree(tones, tmp_path / "audio")
    given = [f"corpus_dir={audio}", "seeds=[1]"]
    both = lape(tmp_path / "both", encoder_dir, *given)
    lape(tmp_path / "apart", encoder_dir, *given, "encoders={}", "baselines=[fbank]")
    apart = lape(tmp_path / "apart", encoder_dir, *given, "baselines=[random]", "batch_seconds=30")
    assert apart["encoders"] == both["encoders"]
    assert apart["scores"] == both["scores"] and apart["summary"] == both["summary"]
    for name in ("tones/confusion.json", "results.md"):
        assert (tmp_path / "apart" / name).read_bytes() == (tmp_path / "both" / name).read_bytes()
    capsys.readouterr()
    common = ["benchmark=lape", "task.name=tones", "task.column=class", "task.clip_seconds=0.5", *FAST, *given]
    other = [*common, f"out_dir={tmp_path}/apart", "baselines=[]", f"encoders={{other: {encoder_dir}}}"]
    for changed, what in ((["protocol=paper"], "protocol"), (["lr=[1e-2]", "seeds=[2]"], "lr, seeds")):
        assert main(["evaluate", *other, *changed]) == 1
        message = capsys.readouterr().err
        assert "has fbank, random, tiny of an earlier command" in message and f"since {what} changed" in message
    wide = HubertEncoder(HubertConfig(front_end="fbank", num_layers=1, dim=32, ffn_dim=32, num_heads=2))
    save_encoder(tmp_path / "wide", wide)
    wider = [word.replace(str(encoder_dir), f"{tmp_path}/wide") for word in other]
    assert main(["evaluate", *wider, "baselines=[random]"]) == 1
    assert "measured beside another random than this command's: give another out_dir" in capsys.readouterr().err
    os.utime(next(audio.rglob("*.wav")), (1, 1))
    assert main(["evaluate", *other]) == 1
    assert "since the data changed" in capsys.readouterr().err
    again = json.loads((tmp_path / "apart/tones/results.json").read_text())
    assert again["scores"] == both["scores"]
    assert lape(tmp_path / "apart", encoder_dir, *given, "protocol=paper")["protocol"] == "paper"


def test_rows_of_an_earlier_version_keep_its_name(
    tmp_path: Path, tones: Path, encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(version: str, *settings: str) -> dict:
        monkeypatch.setattr("speechssl.evaluation.benchmark.__version__", version)
        return lape(tmp_path, encoder_dir, f"corpus_dir={tones}", "seeds=[1]", "epochs=1", *settings)

    def versions(results: dict) -> dict:
        return {row["name"]: row["speechssl"] for row in results["encoders"]}

    measured("0.1", "baselines=[fbank]")
    both = measured("0.2", "baselines=[]")
    assert versions(both) == {"fbank": "0.1", "tiny": "0.2"} and both["speechssl"] == "0.2"
    # As results were before rows had versions: all are of the file's.
    for row in both["encoders"]:
        del row["speechssl"]
    (tmp_path / "tones/results.json").write_text(json.dumps(both))
    assert versions(measured("0.3", "baselines=[]", "batch_seconds=30")) == {"fbank": "0.2", "tiny": "0.3"}


def test_a_killed_command_encodes_what_is_left_and_gives_the_same(
    tmp_path: Path, tones: Path, encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [f"corpus_dir={tones}", "baselines=[]", "batch_seconds=2.5"]
    whole = lape(tmp_path / "whole", encoder_dir, *given)
    encode = HubertEncoder.forward
    batches: list[int] = []

    def killed_at_the_fifth(self: HubertEncoder, waveforms: Tensor, *more: object) -> object:
        batches.append(len(waveforms))
        if len(batches) == 5:
            raise KeyboardInterrupt
        return encode(self, waveforms, *more)

    monkeypatch.setattr(HubertEncoder, "forward", killed_at_the_fifth)
    with contextlib.suppress(AssertionError):
        lape(tmp_path / "killed", encoder_dir, *given)
    assert batches == [5] * 5
    (kept,) = (tmp_path / "killed" / "tones" / "vectors").iterdir()
    with open(kept, "ab") as stream:
        stream.write(b"half a vector")
    again = lape(tmp_path / "killed", encoder_dir, *given)
    assert sum(batches[5:]) == whole["task"]["clips"] - 4 * 5
    assert again["scores"] == whole["scores"]
    assert not kept.parent.exists()


def test_vectors_of_other_audio_or_weights_are_not_gone_on_with(tones: Path, tmp_path: Path, encoder_dir: Path) -> None:
    files = [tmp_path / f"{number}.wav" for number in range(2)]
    for file, tone in zip(files, sorted(tones.rglob("*.wav")), strict=False):
        shutil.copy(tone, file)
    recordings = [Recording(file.name, file.parent, 8000, "train", {}) for file in files]
    encoder, cpu = load_encoder(encoder_dir), torch.device("cpu")

    def name(seconds: float = 0.5, order: int = 1) -> str:
        return vectors_name(encoder, "tiny", recordings[::order], seconds, cpu)

    names = [name(), name(0.4), name(order=-1)]
    os.utime(files[1], (1, 1))
    names.append(name())
    with torch.no_grad():
        next(encoder.parameters()).add_(1e-3)
    names.append(name())
    assert len(set(names)) == len(names) and name() == names[-1]


def test_another_device_gives_the_same_scores(
    tmp_path: Path, tones: Path, encoder_dir: Path, results: dict, other_device: Callable
) -> None:
    with other_device():
        there = lape(tmp_path, encoder_dir, f"corpus_dir={tones}", "seeds=[1,2]", "label_fractions=[0.1,1]")
    for name, rows in results["scores"].items():
        accuracies = [row["accuracy"] for row in rows]
        assert [row["accuracy"] for row in there["scores"][name]] == pytest.approx(accuracies, abs=0.1)
