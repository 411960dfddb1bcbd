"""`task=all` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechssl.cli.app import main
from speechssl.errors import UserError
from speechssl.evaluation.all_tasks import run_all
from speechssl.evaluation.lape import run
from speechssl.evaluation.lape.overview import OVERVIEW
from tests.evaluation.lape.conftest import write_tut_urban, write_urbansound8k

FAST = ["encoders={}", "baselines=[fbank]", "seeds=[1]", "epochs=3", "lr=[1e-1]", "workers=1"]
MISSING = {
    "speech_commands_v1", "speech_commands_v2_12", "speech_commands_v2_35", "libri100_speaker", "libri100_chapter",
    "voxceleb1", "iemocap", "nsynth", "birdsong",
}  # fmt: skip
TUT = "TUT-urban-acoustic-scenes-2018-development"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two data sets in their own folders, and a third folder that is empty."""
    corpora = tmp_path / "corpora"
    write_urbansound8k(corpora / "UrbanSound8K")
    write_tut_urban(corpora / TUT)
    (corpora / "VoxForge").mkdir()
    return corpora


def evaluate(root: Path, out: Path, *settings: str) -> int:
    return main(["evaluate", "benchmark=lape", "task=all", f"corpus_dir={root}", f"out_dir={out}", *FAST, *settings])


def overview(out: Path) -> dict:
    return json.loads((out / "results.json").read_text())


def test_what_is_there_is_evaluated_and_what_is_not_is_listed(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert evaluate(root, out) == 1
    told = capsys.readouterr()
    assert "1 of 3 tasks failed: voxforge (" in told.err and "has no folder of a language" in told.err
    assert told.err.strip().splitlines()[-1].startswith("speechssl evaluate: 1 of 3")
    assert f"- left out: voxceleb1: no folder {root / 'VoxCeleb1'}\n" in told.out
    assert told.out.count("task.members.TASK.folder=NAME") == 1
    found = overview(out)
    assert set(found["tasks"]) == {"tut_urban_2018", "urbansound8k"}
    left_out = {item["what"]: item["reason"] for item in found["left_out"]}
    assert set(left_out) == MISSING | {"voxforge"} and left_out["voxforge"].startswith("failed: ")
    page = (out / "results.md").read_text()
    assert all(f"- left out: {name}: {reason}\n" in page for name, reason in left_out.items())
    for name in found["tasks"]:
        results = json.loads((out / name / "results.json").read_text())
        assert results["task"]["name"] == name and results["summary"]["fbank"]["1"]["accuracy"]["runs"] == 1
    assert found["tasks"]["tut_urban_2018"]["task"]["clips"] == 60

    # The same command goes on: what is there stays, and a folder may have another name.
    (root / "VoxForge").rmdir()
    (root / TUT).rename(root / "scenes")
    assert evaluate(root, out, "task.members.tut_urban_2018.folder=scenes") == 0
    told = capsys.readouterr()
    assert told.out.count("evaluate: done before and unchanged") == 1 and "urbansound8k (linear, sound)" in told.out
    assert {item["what"] for item in overview(out)["left_out"]} == MISSING | {"voxforge"}


def test_a_task_that_breaks_does_not_lose_the_others(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "VoxForge").rmdir()
    read_task = run.read_task

    def broken(folder, task):
        if task.name == "tut_urban_2018":
            raise RuntimeError("out of memory\nfor some reason")
        return read_task(folder, task)

    monkeypatch.setattr(run, "read_task", broken)
    assert evaluate(root, tmp_path / "out") == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.endswith("1 of 2 tasks failed: tut_urban_2018 (RuntimeError: out of memory for some reason)")
    assert set(overview(tmp_path / "out")["tasks"]) == {"urbansound8k"}


def test_a_task_that_fails_leaves_its_results_of_the_other_mode(root: Path, tmp_path: Path) -> None:
    (root / "VoxForge").rmdir()
    out = tmp_path / "out"
    assert evaluate(root, out) == 0

    def breaks(settings: None) -> None:
        raise UserError("it is broken")

    for inner, left in (("finetune", {"tut_urban_2018", "urbansound8k"}), ("", {"urbansound8k"})):
        with pytest.raises(UserError, match="1 of 1 tasks failed"):
            run_all(OVERVIEW, out, {"tut_urban_2018": None}, [], breaks, inner=inner)
        assert set(overview(out)["tasks"]) == left


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["+encoders.other=gone"], "gone does not exist"),
        (["task.clip_seconds=2"], "task.clip_seconds is each task's own: with task=all give task.members"),
        (["corpus_dir=null", "data_dir=data"], "task=all needs corpus_dir"),
        (["corpus_dir=nowhere"], "corpus_dir=nowhere has none of the data sets' folders: speech_commands_v0.01, "),
        (["task.members.voxforge.name=nsynth"], "task.members has two tasks of one name"),
        (["task.members.voxforge.fodler=x"], "unknown setting 'task.members.voxforge.fodler'"),
        (["task.members.voxforge.folder=x", "epochs=few"], "setting not accepted: Value 'few'"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_made(
    settings: list[str], message: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(root, tmp_path / "out", *settings) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_several_processes_are_refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert evaluate(root, tmp_path / "out") == 1
    assert "task=all runs in one process" in capsys.readouterr().err
