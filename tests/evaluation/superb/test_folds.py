"""Tasks in folds: each is tested in turn, the audio is encoded once."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from speechssl.cli.app import main
from speechssl.errors import UserError
from speechssl.evaluation.superb.data import TaskData, Utterance
from speechssl.evaluation.superb.folds import divide
from tests.evaluation.superb.conftest import COLUMNS, write_csv, write_task


def utterances(count: int, folds: int) -> list[Utterance]:
    return [Utterance(f"u{n:02}", Path(f"{n}.wav"), 1, {"fold": f"s{n % folds}"}) for n in range(count)]


def test_every_utterance_is_tested_once_and_never_beside_its_fold():
    divisions = divide(TaskData(Path("x"), {}), utterances(30, 5))
    assert [data.fold for data in divisions] == ["s0", "s1", "s2", "s3", "s4"]
    tested = [item.name for data in divisions for item in data.parts["test"]]
    assert sorted(tested) == [f"u{n:02}" for n in range(30)]
    for data in divisions:
        names = {part: {item.name for item in found} for part, found in data.parts.items()}
        assert {part: len(found) for part, found in names.items()} == {"train": 19, "valid": 5, "test": 6}
        assert not names["train"] & names["valid"]
        assert all(item.labels["fold"] != data.fold for part in ("train", "valid") for item in data.parts[part])
        assert len(data.whole) == 30
    assert len({data.fingerprint(()) for data in divisions}) == 5


def test_the_division_does_not_depend_on_the_order():
    shuffled = utterances(30, 3)
    np.random.default_rng(1).shuffle(shuffled)
    for one, other in zip(
        divide(TaskData(Path("x"), {}), utterances(30, 3)), divide(TaskData(Path("x"), {}), shuffled), strict=True
    ):
        assert one.parts == other.parts


def test_what_two_folds_share_is_remarked():
    found = [Utterance(f"u{n}", Path(f"{min(n, 4)}.wav"), 1, {"fold": f"s{n % 2}"}) for n in range(6)]
    data = divide(TaskData(Path("x"), {}), found)[0]
    assert data.remarks() == {"shared": {"folds": {"u4": "4.wav", "u5": "4.wav"}}}
    assert divide(TaskData(Path("x"), {}, "A corpus"), found)[0].remarks() == {}


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (["a", "a"], "all utterances are of the fold 'a'"),
        (["a", "../b"], "no name"),
        (["a", "a", "b"], "the fold 'a' leaves fewer than two utterances"),
    ],
)
def test_folds_that_cannot_be(folds: list[str], message: str):
    found = [Utterance(str(n), Path("x"), 1, {"fold": fold}) for n, fold in enumerate(folds)]
    with pytest.raises(UserError, match=message):
        divide(TaskData(Path("x"), {}), found)


def test_the_command_reports_the_mean_of_the_folds(tmp_path: Path, encoder_dir: Path, capsys):
    folder = write_task(tmp_path / "task")
    rows = []
    for part in ("train", "valid", "test"):
        with open(folder / f"{part}.csv", newline="") as stream:
            rows += [{**row, "fold": f"s{number // 3 % 3}"} for number, row in enumerate(csv.DictReader(stream))]
    write_csv(folder / "folds.csv", rows, (*COLUMNS, "fold"))
    out = tmp_path / "out"
    given = [f"data_dir={folder}", f"out_dir={out}", f"cache_dir={tmp_path / 'cache'}", "groups=[gender]", "lr=[0.1]"]
    given += [f"encoders={{tiny: {encoder_dir}}}", "baselines=[fbank]", "steps=40", "batch_size=8"]
    (folder / "valid.csv").unlink()
    assert main(["evaluate", "benchmark=superb", "task=er", *given]) == 1
    error = f"{folder / 'folds.csv'} has all parts, and train.csv, test.csv beside it too: keep folds.csv or the others"
    assert error in capsys.readouterr().err
    for part in ("train", "test"):
        (folder / f"{part}.csv").unlink()
    assert main(["evaluate", "benchmark=superb", "task=er", *given]) == 0
    results = json.loads((out / "er" / "results.json").read_text())
    scores = results["scores"]["fbank"]
    assert [score["fold"] for score in scores] == ["s0", "s1", "s2"] == results["task"]["folds"]
    summary = results["summary"]["fbank"]["accuracy"]
    assert summary["runs"] == 1 and summary["mean"] == pytest.approx(np.mean([s["test"]["accuracy"] for s in scores]))
    lines = [line for file in (out / "er" / "predictions").glob("fbank-1-seed1-s*.tsv") for line in file.open()]
    assert len(lines) == 42 + 3
    assert len(list((tmp_path / "cache").glob("*/description.json"))) == 2, "encoded once, not once a fold"
    page = (out / "results.md").read_text()
    assert "folds, tested in turn: s0, s1, s2" in page
    sexes = {row["gender"]: sum(other["gender"] == row["gender"] for other in rows) for row in rows}
    assert f"f ({sexes['f']})" in page and f"m ({sexes['m']})" in page
