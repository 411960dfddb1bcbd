"""`corpus_dir`, `check=true` and `task=all` as a user meets them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.cli.app import main
from speechssl.errors import UserError
from speechssl.evaluation.all_tasks import run_all
from speechssl.evaluation.benchmark import writing_alone
from speechssl.evaluation.superb import check as superb_check
from speechssl.evaluation.superb.corpora import CORPORA
from speechssl.evaluation.superb.overview import OVERVIEW
from speechssl.evaluation.superb.remarks import KINDS
from tests.evaluation.superb.conftest import write_csv, write_task
from tests.evaluation.superb.fake_corpora import (
    LEXICON,
    audio,
    text,
    write_fluent,
    write_iemocap,
    write_libri2mix,
    write_librispeech,
    write_speech_commands,
    write_trials,
    write_voicebank,
)
from tests.evaluation.superb.made_up import task_results

FAST = ["steps=4", "batch_size=4", "lr=[1e-2]", "baselines=[fbank]"]
LOST = ("pr", "asr", "sid", "er", "ic")


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """Speech Commands alone is whole."""
    root = tmp_path / "corpora"
    write_speech_commands(root)
    (root / "LibriSpeech").mkdir()
    return root


def superb(task: str, root: Path, out: Path, *settings: str) -> int:
    given = [f"task={task}", f"corpus_dir={root}", f"out_dir={out}", "encoders={}", f"cache_dir={out.parent / 'cache'}"]
    return main(["evaluate", "benchmark=superb", *given, *FAST, *settings])


def check_csv(task: str, folder: Path, *settings: str) -> int:
    return main(["evaluate", "benchmark=superb", f"task={task}", f"data_dir={folder}", "check=true", *settings])


def check(root: Path, task: str = "all", *settings: str) -> int:
    return main(["evaluate", "benchmark=superb", f"task={task}", f"corpus_dir={root}", "check=true", *settings])


def test_keywords_of_the_corpus_itself(corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    assert superb("ks", corpora, out) == 0
    task = json.loads((out / "ks" / "results.json").read_text())["task"]
    assert task["classes"] == {"label": 4} and task["utterances"]["test"] == 3
    assert task["folder"] == str(corpora / "speech_commands_v0.01")
    assert superb("ks", corpora, out) == 0
    assert "done before and unchanged" in capsys.readouterr().out


def test_intents_have_the_three_columns_of_the_corpus(tmp_path: Path):
    root = write_fluent(tmp_path / "fluent")
    assert superb("ic", root, tmp_path / "out") == 0
    task = json.loads((tmp_path / "out" / "ic" / "results.json").read_text())["task"]
    assert task["classes"] == {"action": 2, "object": 1, "location": 1}


def test_emotions_are_tested_in_each_session(tmp_path: Path):
    root = write_iemocap(tmp_path / "IEMOCAP_full_release")
    assert superb("er", root, tmp_path / "out") == 0
    results = json.loads((tmp_path / "out" / "er" / "results.json").read_text())
    assert [score["fold"] for score in results["scores"]["fbank"]] == [f"session{number}" for number in range(1, 6)]
    assert results["task"]["classes"] == {"label": 4} and results["summary"]["fbank"]["accuracy"]["runs"] == 1


def test_speakers_and_mixtures_of_the_corpora(tmp_path: Path):
    write_trials(tmp_path / "VoxCeleb1")
    write_libri2mix(tmp_path / "Libri2Mix")
    for task in ("asv", "sd"):
        assert superb(task, tmp_path, tmp_path / "out", "check_every=4") == 0
    asv, sd = (json.loads((tmp_path / "out" / task / "results.json").read_text()) for task in ("asv", "sd"))
    assert asv["task"]["utterances"] == {"train": 12, "valid": 12, "test": 3} and asv["task"]["classes"] == {"label": 2}
    assert "trials: valid 24, test 2" in asv["task"]["notes"]
    assert sd["task"]["utterances"] == {"train": 2, "valid": 2, "test": 2}
    assert "der" in sd["summary"]["fbank"]


def test_what_is_there_is_evaluated_and_what_is_not_is_listed(
    corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert superb("all", corpora, out) == 0
    told = capsys.readouterr().out
    found = json.loads((out / "results.json").read_text())
    assert set(found["tasks"]) == {"ks"}
    missing = {item["what"]: item["reason"] for item in found["left_out"]}
    assert set(LOST) <= set(missing) and "ks" not in missing
    assert missing["asr"] == f"LibriSpeech: no {corpora / 'LibriSpeech' / 'train-clean-100'}"
    for page in (told, (out / "results.md").read_text()):
        assert all(f"- left out: {task}: {reason}" in page for task, reason in missing.items())
        assert "KS accuracy" in page


def test_a_task_that_fails_does_not_lose_the_others(corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_fluent(corpora / "fluent_speech_commands_dataset")
    lost = corpora / "fluent_speech_commands_dataset" / "wavs" / "speakers" / "s2" / "test.wav"
    lost.unlink()
    assert superb("all", corpora, tmp_path / "out") == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "1 of 2 tasks failed: ic (Fluent Speech Commands (" in last and f"test ({lost}): no such file" in last
    assert set(json.loads((tmp_path / "out" / "results.json").read_text())["tasks"]) == {"ks"}


def test_a_task_that_fails_shows_nothing_of_an_earlier_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("ks", "sid"):
        file = tmp_path / name / "results.json"
        file.parent.mkdir()
        file.write_text(json.dumps(task_results(name, {"tiny": {"accuracy": 0.9}})))

    def run_task(name: str) -> None:
        if name == "sid":
            raise UserError("is broken")

    with pytest.raises(UserError, match=r"1 of 2 tasks failed: sid \(is broken\)"):
        run_all(OVERVIEW, tmp_path, {"ks": "ks", "sid": "sid"}, [], run_task)
    assert set(json.loads((tmp_path / "results.json").read_text())["tasks"]) == {"ks"}
    for told in (capsys.readouterr().out, (tmp_path / "results.md").read_text()):
        assert "KS accuracy" in told and "SID" not in told and "- left out: sid: failed: is broken" in told


def test_a_task_that_another_command_is_busy_with_keeps_its_results(tmp_path: Path):
    for name in ("ks", "sid"):
        file = tmp_path / name / "results.json"
        file.parent.mkdir()
        file.write_text(json.dumps(task_results(name, {"tiny": {"accuracy": 0.9}})))

    def run_task(name: str) -> None:
        with writing_alone(tmp_path / name):
            pass

    with (
        writing_alone(tmp_path / "sid"),
        pytest.raises(UserError, match=r"1 of 2 tasks are not done: sid \(another command is at work"),
    ):
        run_all(OVERVIEW, tmp_path, {"ks": "ks", "sid": "sid"}, [], run_task)
    found = json.loads((tmp_path / "results.json").read_text())
    assert set(found["tasks"]) == {"ks", "sid"}
    assert [item["what"] for item in found["left_out"]] == ["sid"]


def test_check_says_what_is_there_and_where_to_get_the_rest(
    corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_librispeech(corpora / "LibriSpeech")
    (corpora / "LibriSpeech" / "dev-clean" / "84" / "23" / "84-23-0001.flac").unlink()
    assert check(corpora) == 0
    told = capsys.readouterr().out.splitlines()
    at = {line.split()[0]: number for number, line in enumerate(told) if not line.startswith(" ")}
    assert {"ks", *LOST} <= set(at)
    words = corpora / "speech_commands_v0.01"
    assert told[at["ks"] + 1].startswith(f"  found    Speech Commands 0.01 in {words}: train 2")
    assert "LibriSpeech: train 4, valid 4, test 4 utterances" in told[at["asr"] + 1]
    assert told[at["asr"] + 2].startswith("  missing  1 recordings of valid, the first is ")
    lexicon = told[at["pr"] + 1]
    assert "missing" in lexicon and "librispeech-lexicon" in lexicon and "openslr.org/11" in lexicon
    expected = f"  missing  IEMOCAP, expected in {corpora / 'IEMOCAP_full_release'}: https://sail.usc.edu/iemocap"
    assert told[at["er"] + 1].startswith(expected) and not told[at["er"] + 2].startswith(" ")
    assert [path.name for path in tmp_path.iterdir()] == ["corpora"], "nothing is written"


def test_check_reads_a_lexicon_and_csv(
    corpora: Path, task_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write_librispeech(corpora / "LibriSpeech")
    text(tmp_path / "lexicon.txt", *LEXICON)
    assert check(corpora, "all", f"lexicon={tmp_path / 'lexicon.txt'}") == 0
    assert "found    LibriSpeech with a lexicon" in capsys.readouterr().out
    text(tmp_path / "lexicon.txt", *LEXICON[:3])
    assert check(corpora, "pr", f"lexicon=[{tmp_path / 'lexicon.txt'}]") == 1
    assert "  wrong    2 words have no pronunciation" in capsys.readouterr().out
    assert check_csv("ks", task_dir) == 0
    assert "train 24, valid 9, test 9 utterances" in capsys.readouterr().out
    assert check_csv("ks", tmp_path) == 1
    assert "train.csv: yours to write" in capsys.readouterr().out


def test_check_finds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert check(tmp_path) == 1
    told = capsys.readouterr()
    assert "task=all cannot be evaluated: what is missing or wrong is said above" in told.err
    assert told.out.count("  missing  ") == len(CORPORA)


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("asr", {"transcription": " "}, r"1 bad lines: line 6 \(id test4, test-4\.wav\) has no transcription"),
        ("asr", {"transcription": "ad"}, r"1 utterances have something in their transcription .*test-4\.wav \('ad'\)"),
        ("ic", {"label": "d"}, r"1 utterances have a label that none of training has: .*test-4\.wav \('d'\)"),
        ("sf", {"iob": "O"}, r"1 utterances with wrong labels: .*test-4\.wav .*has 2 words and 1 slots"),
        ("ks", {"path": "gone.wav"}, r"1 bad lines: test4 \(.*gone\.wav\): no such file"),
        ("ks", {"path": "junk.wav"}, r"1 bad lines: test4 \(.*junk\.wav\): cannot be decoded"),
        ("ks", {"path": "cut.wav"}, r"1 bad lines: test4 \(.*cut\.wav\): cut off: "),
        ("ks", {"path": "cut.flac"}, r"cut\.flac \(utterance test4\).*repair it or take its line out"),
    ],
)
def test_check_says_what_a_run_would_stop_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, change: dict[str, str], message: str
):
    folder = write_task(tmp_path)
    (folder / "junk.wav").write_bytes(b"RIFF" + bytes(40))
    for name in ("cut.wav", "cut.flac"):
        audio(folder / name, 400_000)
        (folder / name).write_bytes((folder / name).read_bytes()[:200_000])
    assert check_csv(task, folder) == 0
    with open(folder / "test.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[4].update(change)
    write_csv(folder / "test.csv", rows)
    capsys.readouterr()
    assert check_csv(task, folder) == 1
    assert re.search(rf"\n  wrong    .*{message}", capsys.readouterr().out)


def test_check_refuses_groups_encoders_and_a_single_class_as_a_run_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = write_task(tmp_path)
    assert check_csv("ks", folder, "groups=[gender]") == 0
    assert check_csv("ks", folder, "groups=[gendr]") == 1
    assert "  wrong    " in (told := capsys.readouterr().out) and "has no column 'gendr'; did you mean 'gender'" in told
    assert check_csv("ks", folder, f"encoders={{tiny: {tmp_path / 'nowhere'}}}") == 1
    assert str(tmp_path / "nowhere") in capsys.readouterr().err
    for part in ("train", "valid", "test"):
        with open(folder / f"{part}.csv", newline="") as stream:
            rows = [{**row, "label": "a"} for row in csv.DictReader(stream)]
        write_csv(folder / f"{part}.csv", rows)
    assert check_csv("ks", folder) == 1
    assert f"{folder / 'train.csv'}: all utterances are of one class (label a); " in capsys.readouterr().out


def test_check_of_all_tasks_wants_a_group_of_those_that_have_it(corpora: Path, capsys: pytest.CaptureFixture[str]):
    write_fluent(corpora / "fluent_speech_commands_dataset")
    assert check(corpora, "all", "groups=[speaker]") == 0
    assert "has no column" not in capsys.readouterr().out
    assert check(corpora, "all", "groups=[snr]") == 1
    assert "no corpus that is there has a column 'snr'" in capsys.readouterr().err


def test_check_warns_of_what_is_in_test_and_in_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_task(tmp_path)
    with open(folder / "train.csv", newline="") as stream:
        write_csv(folder / "test.csv", list(csv.DictReader(stream))[:5])
    assert check_csv("ks", folder) == 0
    named = "; ".join(str(folder / f"train-{number}.wav") for number in range(3))
    assert f"  unusual  test: 5 utterances {KINDS['shared']}: {named} and 2 more\n" in capsys.readouterr().out


def test_check_hears_a_sample_of_long_lists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(superb_check, "_SAMPLE", 3)
    folder = write_task(tmp_path)
    for number in (4, 5):
        soundfile.write(folder / f"test-{number}.wav", np.zeros((4000, 2)), 16000)
    assert check_csv("ks", folder) == 0
    told = capsys.readouterr().out
    assert "  heard    audio of train 3, valid 3, test 3 utterances\n" in told
    lines = [line for line in told.splitlines() if line.startswith("  unusual  ")]
    expected = [
        f"  unusual  test: 1 utterances {KINDS[kind]}: {folder / 'test-4.wav'}" for kind in ("channels", "silent")
    ]
    assert lines == expected, "the fifth of nine is one of three"


def test_check_says_what_scores_will_lack(corpora: Path, capsys: pytest.CaptureFixture[str], monkeypatch):
    monkeypatch.setattr(superb_check, "has_pesq", lambda: False)
    write_librispeech(corpora / "LibriSpeech")
    write_voicebank(corpora / "VoiceBank-DEMAND")
    assert check(corpora) == 0
    told = capsys.readouterr().out
    assert "  few      train: 4 of the 28539 utterances of the official corpus" in told
    assert "  without  a language model (lm=FILE), so no wer_lm: SUPERB's is 4-gram.arpa.gz" in told
    assert "  without  PESQ, so stoi chooses: pip install -e '.[pesq]'" in told


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["task=ks", "corpus_dir=ROOT/nothing"], "corpus_dir=ROOT/nothing is not a folder"),
        (["task=asr", "corpus_dir=ROOT"], "task=asr needs LibriSpeech: ROOT/LibriSpeech/train-clean-100 is missing"),
        (["task=all", "corpus_dir=ROOT/LibriSpeech"], "has no corpus of SUPERB with all that is needed; check=true"),
        (["task=ks"], "give either data_dir"),
        (["task=ks", "corpus_dir=ROOT", "data_dir=ROOT"], "give either data_dir"),
        (["task=all", "data_dir=ROOT"], "task=all reads corpus_dir"),
        (
            ["task=all", "corpus_dir=ROOT", "groups=[gender]"],
            "no corpus that is there has a column 'gender'",
        ),
        (["task=pr", "corpus_dir=ROOT", "lexicon=5"], "lexicon=5 must be FILE or [FILE, FILE]"),
        (["task=pr", "corpus_dir=ROOT", "lexicon={a: b}"], "must be FILE or [FILE, FILE]"),
        (["task=pr", "corpus_dir=ROOT", "lexicon=[a.txt]"], "lexicon=a.txt does not exist: give a file, or leave it"),
        (["task=all", "corpus_dir=ROOT", "lm=a.arpa"], "lm=a.arpa does not exist: give a file, or leave it out"),
        (["task=ks", "corpus_dir=ROOT", "lexicon=a.txt"], "lexicon is for task=pr"),
        (["task=ks", "corpus_dir=ROOT", "labels=[colour]"], "train has no column 'colour'"),
    ],
)
def test_a_mistake_is_one_line(
    corpora: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: list[str], message: str
):
    given = [setting.replace("ROOT", str(corpora)) for setting in settings]
    given += [f"out_dir={tmp_path / 'out'}", "encoders={}", "baselines=[fbank]"]
    assert main(["evaluate", "benchmark=superb", *given]) == 1
    error = capsys.readouterr().err
    assert message.replace("ROOT", str(corpora)) in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_is_evaluated_must_be_said(corpora: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "benchmark=superb", "task=ks", f"corpus_dir={corpora}"]) == 1
    assert "missing setting encoders, out_dir: give it as encoders=VALUE" in capsys.readouterr().err
