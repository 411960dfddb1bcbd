"""Parts of a task: which clips are trained on, chosen on and tested on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from speechssl.errors import UserError
from speechssl.evaluation.lape.data import TaskData
from speechssl.evaluation.lape.settings import LapeTask, Split
from speechssl.evaluation.lape.splits import Division, divide, labelled_rows, with_valid
from speechssl.evaluation.recordings import Recording


def made(counts: dict[str, int], **columns: list[str]) -> TaskData:
    """Return clips of classes; `columns` and `split` have a cell a clip."""
    names = [name for name, count in counts.items() for _ in range(count)]
    splits = columns.pop("split", ["train"] * len(names))
    recordings = []
    for row in range(len(names)):
        labels = {column: cells[row] for column, cells in columns.items() if cells[row]}
        recordings.append(Recording(f"{row:04d}.wav", Path(), 16000, splits[row], labels))
    classes = sorted(counts)
    return TaskData(recordings, np.array([classes.index(name) for name in names]), classes)


def task(**settings: object) -> LapeTask:
    return LapeTask(**{"name": "t", "corpus": "folder", "column": "class", "clip_seconds": 1.0, **settings})


def assert_apart(division: Division, total: int) -> None:
    rows = np.concatenate([division.train, division.valid, division.test])
    assert len(np.unique(rows)) == len(rows) == total


def test_stratified_is_scikit_learns_split_of_a_fifth_with_seed_1() -> None:
    data = made({"a": 50, "b": 30, "c": 21})
    (division,) = divide(data, task())
    train, test = train_test_split(np.arange(101), test_size=0.2, random_state=1, stratify=data.labels)
    assert division.train.tolist() == sorted(train) and division.test.tolist() == sorted(test)


def test_a_split_of_the_data_that_is_not_kept_is_told() -> None:
    data = made({"a": 10, "b": 10}, split=(["train"] * 8 + ["test"] * 2) * 2)
    (drawn,), (own,) = divide(data, task()), divide(data, task(split=Split.official))
    assert drawn.name == "80/20, stratified, not the data's own split (task.split=official)"
    assert own.test.tolist() == [8, 9, 18, 19] != drawn.test.tolist()


def test_a_class_of_one_clip_is_trained_on() -> None:
    data = made({"a": 10, "b": 10, "c": 1})
    (division,) = divide(data, task())
    assert 20 in division.train
    assert_apart(division, 21)


def test_official_parts_are_those_of_the_manifest_and_others_are_counted() -> None:
    split = ["train"] * 5 + ["valid"] * 2 + ["test"] * 2 + ["dev-other"]
    data = made({"a": 5, "b": 5}, split=split)
    (division,) = divide(data, task(split=Split.official))
    assert (division.train.tolist(), division.valid.tolist(), division.test.tolist()) == (
        [0, 1, 2, 3, 4],
        [5, 6],
        [7, 8],
    )
    assert data.left_out == [{"what": "1 recordings", "reason": "of the split dev-other"}]
    assert with_valid(division, data, task(split=Split.official)) is division


def test_a_class_that_train_lacks_is_counted() -> None:
    data = made({"a": 4, "b": 2, "c": 3}, split=["train"] * 4 + ["train", "test"] + ["test"] * 3)
    (division,) = divide(data, task(split=Split.official))
    assert division.describe(data, task())["missing_from_train"] == {"c": 3}


def test_a_task_without_a_test_part_is_refused() -> None:
    with pytest.raises(UserError, match="official has 6 clips to train on and 0 to test on"):
        divide(made({"a": 3, "b": 3}), task(split=Split.official))


def test_folds_are_tested_in_turn_and_every_clip_once() -> None:
    cells = [["1", "2", "10", ""][number % 4] for number in range(40)]
    data = made({"a": 20, "b": 20}, fold=cells)
    divisions = divide(data, task(split=Split.folds, fold_column="fold"))
    assert [division.name for division in divisions] == ["fold 1", "fold 2", "fold 10"]
    for division, name in zip(divisions, ("1", "2", "10"), strict=True):
        assert {cells[row] for row in division.test} == {name}
        assert {cells[row] for row in division.train} == {"1", "2", "10"} - {name}
    assert data.left_out == [{"what": "10 recordings", "reason": "no fold known"}]
    (one,) = divide(data, task(split=Split.folds, fold_column="fold", test_fold="10"))
    assert one.test.tolist() == divisions[2].test.tolist()


def test_a_fold_that_does_not_exist_is_named() -> None:
    data = made({"a": 2, "b": 2}, fold=["Session1", "Session2"] * 2)
    with pytest.raises(UserError, match="no value 'Session3'; did you mean 'Session"):
        divide(data, task(split=Split.folds, fold_column="fold", test_fold="Session3"))


def test_folds_that_are_known_for_too_few_clips_are_told() -> None:
    data = made({"a": 2, "b": 2}, fold=["", "1", "", ""])
    with pytest.raises(UserError, match=r"column fold has fewer than two values where the class is known \(1\)"):
        divide(data, task(split=Split.folds, fold_column="fold"))
    data = made({"a": 2, "b": 2}, fold=[""] * 4)
    with pytest.raises(UserError, match=r"where the class is known \(none\)"):
        divide(data, task(split=Split.folds, fold_column="fold"))


def test_the_validation_part_has_speakers_of_its_own() -> None:
    speakers = [f"s{number % 10}" for number in range(200)]
    data = made({"a": 120, "b": 80}, speaker=speakers)
    (division,) = divide(data, task())
    whole = with_valid(division, data, task())
    assert_apart(whole, 200)
    assert not {speakers[row] for row in whole.valid} & {speakers[row] for row in whole.train}
    assert len(whole.valid) == pytest.approx(16, abs=3) and set(data.labels[whole.valid]) == {0, 1}
    assert whole.valid_is == "of train, no speaker in both"
    assert whole.describe(data, task()) | {"test_groups": 10, "groups_also_in_train": 9} == whole.describe(data, task())


def test_clips_of_unknown_speakers_are_trained_on_and_do_not_turn_this_off() -> None:
    speakers = ["" if number % 7 == 0 else f"s{number % 10}" for number in range(200)]
    data = made({"a": 120, "b": 80}, speaker=speakers)
    (division,) = divide(data, task())
    whole = with_valid(division, data, task())
    assert_apart(whole, 200)
    assert "" not in {speakers[row] for row in whole.valid}
    assert {speakers[row] for row in whole.valid} & {speakers[row] for row in whole.train} == set()


@pytest.mark.parametrize(
    "speakers",
    [[f"s{number % 4}" for number in range(100)], [""] * 60 + [f"s{number}" for number in range(40)], [""] * 100],
    ids=["too few", "of one class", "none known"],
)
def test_without_enough_known_speakers_the_validation_part_is_a_stratified_tenth(speakers: list[str]) -> None:
    data = made({"a": 60, "b": 40}, speaker=speakers)
    (division,) = divide(data, task())
    whole = with_valid(division, data, task())
    assert_apart(whole, 100)
    assert np.bincount(data.labels[whole.valid]).tolist() == [5, 3]
    assert whole.valid_is == "of train, stratified"


def test_where_the_class_is_the_speaker_all_speakers_are_in_all_parts() -> None:
    names = {f"s{number}": 10 for number in range(6)}
    data = made(names, speaker=[name for name in names for _ in range(10)])
    (division,) = divide(data, task(column="speaker"))
    whole = with_valid(division, data, task(column="speaker"))
    for part in (whole.train, whole.valid, whole.test):
        assert set(data.labels[part].tolist()) == set(range(6))
    assert "test_groups" not in whole.describe(data, task(column="speaker"))


def test_a_label_fraction_is_a_part_of_each_class_and_one_clip_at_least() -> None:
    data = made({"a": 200, "b": 60, "c": 3})
    rows = np.arange(263)
    samples = {fraction: labelled_rows(rows, data, fraction, seed=1) for fraction in (0.01, 0.1, 1.0)}
    counts = {fraction: np.bincount(data.labels[chosen]).tolist() for fraction, chosen in samples.items()}
    assert counts == {0.01: [2, 1, 1], 0.1: [20, 6, 1], 1.0: [200, 60, 3]}
    assert set(samples[0.01]) < set(samples[0.1]) < set(samples[1.0])
    other = labelled_rows(rows, data, 0.1, seed=2)
    assert len(other) == 27 and other.tolist() != samples[0.1].tolist()
