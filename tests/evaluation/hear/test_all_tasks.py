"""`task=all` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechssl.cli.app import main
from speechssl.evaluation.hear.folders import FOLDERS
from tests.evaluation.hear.conftest import write_beeps, write_tones

FAST = ["epochs=5", "hidden_layers=[0]", "lr=[3e-2]", "seeds=[1]", "baselines=[fbank]", "workers=1"]


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """Two of the sixteen, one of them where the archives put it, and a task that is none of them."""
    root = tmp_path / "corpora"
    write_tones(root / FOLDERS["esc50"])
    write_beeps(root / "hear-2021.0.6" / "tasks" / FOLDERS["dcase2016_task2"])
    write_tones(root / "tones-v1-full")
    return root


def hear_all(root: Path, out: Path, encoder: str | Path) -> int:
    given = ["benchmark=hear", "task=all", f"corpus_dir={root}", f"out_dir={out}", f"encoders={{tiny: {encoder}}}"]
    return main(["evaluate", *given, *FAST])


def test_what_is_there_is_evaluated_and_what_is_not_is_listed(
    corpora: Path, encoder_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert hear_all(corpora, out, encoder_dir) == 0
    told = capsys.readouterr().out
    found = json.loads((out / "results.json").read_text())
    assert set(found["tasks"]) == {"esc50", "dcase2016_task2"}
    assert found["tasks"]["esc50"]["summary"]["fbank"]["top1_acc"]["runs"] == 1
    missing = {item["what"]: item["reason"] for item in found["left_out"]}
    assert set(missing) == set(FOLDERS) - set(found["tasks"])
    assert missing["libricount"] == f"no folder libricount-v1.0.0-hear2021-full in {corpora}"
    for text in (told, (out / "results.md").read_text()):
        assert all(f"- left out: {name}: {reason}" in text for name, reason in missing.items())
        assert "esc50 (top1_acc)" in text and "dcase2016_task2 (event_onset_200ms_fms)" in text

    assert hear_all(corpora, out, encoder_dir) == 0
    assert capsys.readouterr().out.count("evaluate: done before and unchanged") == 2


def test_a_task_that_fails_does_not_lose_the_others(
    corpora: Path, encoder_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpora / FOLDERS["esc50"] / "labelvocabulary.csv").unlink()
    out = tmp_path / "out"
    assert hear_all(corpora, out, encoder_dir) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "1 of 2 tasks failed: esc50 (" in last and "labelvocabulary.csv" in last
    found = json.loads((out / "results.json").read_text())
    assert set(found["tasks"]) == {"dcase2016_task2"}
    assert [item["what"] for item in found["left_out"] if item["reason"].startswith("failed: ")] == ["esc50"]


def test_a_mistake_is_one_line_before_anything_is_made(
    encoder_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, out = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    for root, message in ((empty, "none of the sixteen tasks' folders"), (tmp_path / "gone", "is not a folder")):
        assert hear_all(root, out, encoder_dir) == 1
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert hear_all(empty, out, "gone") == 1
    assert "gone does not exist" in capsys.readouterr().err
    assert not out.exists()
