"""`speechssl training_part`: no recording that a task tests is left in what may be heard."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from speechssl.cli.app import main
from speechssl.data.manifest import read_manifest
from speechssl.data.tables import read_table
from speechssl.evaluation.lape.data import TaskData, read_task
from speechssl.evaluation.lape.settings import LapeTask, Split
from speechssl.evaluation.lape.splits import Division, divide

NAMES = ["task.name=tones", "task.column=class", "task.clip_seconds=0.5"]


@pytest.fixture
def manifests(tmp_path: Path, tones: Path) -> Path:
    """Return the folder of `speechssl manifest` of the tones: no official split, a few recordings held out as valid."""
    folder = tmp_path / "data"
    given = [
        f"corpus.audio_dir={tones}",
        "corpus.name=folder",
        f"out={folder}",
        "valid_fraction=0.2",
        "min_seconds=0.01",
    ]
    assert main(["manifest", *given]) == 0
    return folder


def heard(folder: Path) -> set[Path]:
    listed = [read_manifest(folder / f"{split}.tsv") for split in ("train", "valid")]
    return {manifest.audio_path(row) for manifest in listed for row in range(len(manifest))}


def test_what_is_tested_is_left_out_and_nothing_else(
    tmp_path: Path, manifests: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["training_part", *NAMES, f"data_dir={manifests}", f"out={tmp_path}/heard"]) == 0
    task = LapeTask("tones", "folder", column="class", clip_seconds=0.5, split=Split.stratified)
    data = read_task(manifests, task)
    (division,) = divide(data, task)
    tested = {data.recordings[row].audio for row in division.test}
    assert heard(tmp_path / "heard") == heard(manifests) - tested
    left_out = len(heard(manifests) & tested)
    assert left_out > 0 and f"{left_out} left out; tones tests {len(tested)}" in capsys.readouterr().out
    # The evaluation of the whole folder tests them, too.
    divided = []

    def noted(data: TaskData, task: LapeTask) -> list[Division]:
        found = divide(data, task)
        divided.extend({data.recordings[row].audio for row in division.test} for division in found)
        return found

    monkeypatch.setattr("speechssl.evaluation.lape.run.divide", noted)
    evaluated = ["benchmark=lape", *NAMES, f"data_dir={manifests}", "encoders={}", "baselines=[fbank]", "epochs=1"]
    assert main(["evaluate", *evaluated, f"out_dir={tmp_path}/lape", "seeds=[1]"]) == 0
    assert divided == [tested]


def test_manifests_made_elsewhere_have_nothing_beside_them(
    tmp_path: Path, manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The class is then the folder that a recording is in."""
    for name in ("metadata.tsv", "audio.json"):
        (manifests / name).unlink()
    given = ["training_part", "task.name=tones", "task.clip_seconds=0.5", f"data_dir={manifests}"]
    assert main([*given, f"out={tmp_path}/heard"]) == 0
    assert heard(tmp_path / "heard") < heard(manifests)
    capsys.readouterr()
    assert main([*given, f"out={tmp_path}/heard"]) == 0
    assert "done before" in capsys.readouterr().out
    changed = min(heard(manifests))
    os.utime(changed, (1, 1))
    assert main([*given, f"out={tmp_path}/heard"]) == 0
    assert "done before" not in capsys.readouterr().out


def test_a_split_that_is_gone_is_not_left_from_an_earlier_command(tmp_path: Path, manifests: Path) -> None:
    given = ["training_part", *NAMES, f"data_dir={manifests}", f"out={tmp_path}/heard"]
    assert main(given) == 0
    (manifests / "valid.tsv").unlink()
    assert main(given) == 0
    assert (tmp_path / "heard/train.tsv").is_file() and not (tmp_path / "heard/valid.tsv").exists()


def test_one_fold_is_left_out_and_of_all_folds_in_turn_none(
    tmp_path: Path, manifests: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fold = {row["path"]: row["fold"] for row in read_table(manifests / "metadata.tsv", ["path", "fold"])}
    last = max(fold.values())
    given = [*NAMES, "task.split=folds", "task.fold_column=fold", f"data_dir={manifests}", f"out={tmp_path}/heard"]
    assert main(["training_part", *given, f"task.test_fold='{last}'"]) == 0
    left = {path for path in heard(manifests) if fold["/".join(path.parts[-2:])] != last}
    assert heard(tmp_path / "heard") == left != heard(manifests)
    assert main(["training_part", *given]) == 0
    assert heard(tmp_path / "heard") == heard(manifests)
    assert (
        f"tests every recording, in one of {len(set(fold.values()))} folds, so all are kept" in capsys.readouterr().out
    )


def test_a_mistake_is_one_line(manifests: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["training_part", *NAMES, f"data_dir={manifests}", f"out={manifests}"]) == 1
    assert "is data_dir, which stays as it is" in capsys.readouterr().err
    assert main(["training_part", "task=all", f"data_dir={manifests}", f"out={tmp_path}/heard"]) == 1
    assert "name one task" in capsys.readouterr().err
    wrong = {
        "task.test_fold=1": "task.test_fold=1 is for task.split=folds",
        "task.split=folds": "task.fold_column names",
    }
    wrong["task.metadata=a.tsv"] = "task.metadata=a.tsv is read where manifests are made, and data_dir has them already"
    for setting, message in wrong.items():
        assert main(["training_part", *NAMES, setting, f"data_dir={manifests}", f"out={tmp_path}/heard"]) == 1
        assert message in capsys.readouterr().err
