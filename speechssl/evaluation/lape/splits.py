"""Which clips a head learns from, is chosen on, and is tested on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from speechssl.errors import UserError, nearest
from speechssl.evaluation.lape.data import TaskData
from speechssl.evaluation.lape.settings import LapeTask, Split
from speechssl.evaluation.sampling import sample

Rows = npt.NDArray[np.int64]

SEED = 1
"""Of all splits, as LAPE's; the seeds of the heads are others."""
TEST_PART = 0.2
VALID_PART = 0.1
MIN_GROUPS = 5
"""Groups (speakers, say) that every class needs for a validation part of other ones: with fewer it would be more than
a fifth."""


@dataclass(frozen=True)
class Division:
    """Rows of the task's clips for each part."""

    name: str
    """Which part is tested, e.g. `fold 3`."""
    train: Rows
    valid: Rows
    """Empty where the task has no validation part of its own and none was held out of train."""
    test: Rows
    valid_is: str = ""
    """Where the validation part comes from, in words."""

    def describe(self, data: TaskData, task: LapeTask) -> dict[str, Any]:
        """Return sizes, classes that train lacks, and groups of the test part that are in train as well."""
        facts: dict[str, Any] = {"name": self.name, "train": len(self.train), "test": len(self.test)}
        if len(self.valid):
            facts |= {"valid": len(self.valid), "valid_is": self.valid_is}
        missing = sorted(set(range(len(data.classes))) - set(data.labels[self.train].tolist()))
        tested = Counter(data.labels[self.test].tolist())
        facts["missing_from_train"] = {data.classes[number]: tested[number] for number in missing}
        groups = np.array(data.column(task.group_column))
        tested_groups = set(groups[self.test]) - {""}
        if tested_groups and task.column != task.group_column:
            common = tested_groups & set(groups[self.train])
            facts |= {"test_groups": len(tested_groups), "groups_also_in_train": len(common)}
        return facts


def divide(data: TaskData, task: LapeTask) -> list[Division]:
    """Return the divisions of a task: one, or one a fold. Clips that no part takes are added to `data.left_out`.

    Raises:
        UserError: a part would be empty, or the fold to test does not exist.
    """
    if task.split is Split.official:
        divisions = [_official(data)]
    elif task.split is Split.stratified:
        train, test = _stratified(np.arange(len(data.labels)), data.labels, TEST_PART)
        own = any(recording.split == "test" for recording in data.recordings)
        name = "80/20, stratified" + (", not the data's own split (task.split=official)" if own else "")
        divisions = [Division(name, train, train[:0], test)]
    else:
        divisions = _folds(data, task)
    for division in divisions:
        if not len(division.train) or not len(division.test):
            raise UserError(
                f"task {task.name}: {division.name} has {len(division.train)} clips to train on and "
                f"{len(division.test)} to test on; task.split={task.split.value} does not suit these data"
            )
    return divisions


def with_valid(division: Division, data: TaskData, task: LapeTask) -> Division:
    """Return the division with a validation part: its own, or about a tenth of train.

    The tenth is stratified. Its groups (speakers, say) are not in train where the class is not the group itself, the
    group of most clips is known and every class has `MIN_GROUPS`; clips of unknown groups are then trained on.

    Raises:
        UserError: every class has one clip only.
    """
    if len(division.valid):
        return division
    labels = data.labels[division.train]
    groups = np.array(data.column(task.group_column))[division.train]
    known = groups != ""
    count = _fewest_groups(labels, groups)
    if task.column != task.group_column and 2 * known.sum() > len(known) and count >= MIN_GROUPS:
        from sklearn.model_selection import StratifiedGroupKFold  # slow to import

        divider = StratifiedGroupKFold(min(round(1 / VALID_PART), count), shuffle=True, random_state=SEED)
        _, held_out = next(divider.split(labels[known], labels[known], groups[known]))
        valid = division.train[known][held_out]
        train = np.setdiff1d(division.train, valid)
        how = f"of train, no {task.group_column} in both"
    else:
        train, valid = _stratified(division.train, labels, VALID_PART)
        how = "of train, stratified"
    return Division(division.name, train, valid, division.test, how)


def labelled_rows(rows: Rows, data: TaskData, fraction: float, seed: int) -> Rows:
    """Return a sample of training rows: `fraction` of each class, rounded, and at least one.

    A smaller fraction is a part of a larger one of the same seed. The number does not depend on the seed.
    """
    chosen: list[int] = []
    labels = data.labels[rows]
    for label in np.unique(labels):
        members = rows[labels == label].tolist()
        count = max(1, round(fraction * len(members)))
        chosen += sample(members, count, seed, lambda row: data.recordings[row].name)
    return np.array(sorted(chosen))


def _official(data: TaskData) -> Division:
    splits = np.array([recording.split for recording in data.recordings])
    others = Counter(name for name in splits.tolist() if name not in ("train", "valid", "test"))
    for name, count in sorted(others.items()):
        data.left_out.append({"what": f"{count} recordings", "reason": f"of the split {name}"})
    train, valid, test = (np.flatnonzero(splits == name) for name in ("train", "valid", "test"))
    return Division("official", train, valid, test, "official" if len(valid) else "")


def _folds(data: TaskData, task: LapeTask) -> list[Division]:
    assert task.fold_column is not None
    cells = np.array(data.column(task.fold_column))
    known = sorted(set(cells.tolist()) - {""}, key=lambda name: (len(name), name))  # 2 before 10
    unknown = int((cells == "").sum())
    if unknown:
        data.left_out.append({"what": f"{unknown} recordings", "reason": f"no {task.fold_column} known"})
    tested = known if task.test_fold is None else [task.test_fold]
    if len(known) < 2:
        raise UserError(
            f"column {task.fold_column} has fewer than two values where the class is known "
            f"({', '.join(known) or 'none'}); mend task.fold_column"
        )
    if tested[0] not in known:
        raise UserError(
            f"column {task.fold_column} has no value '{tested[0]}'{nearest(tested[0], known)} "
            f"(known: {', '.join(known)}); mend task.test_fold"
        )
    return [_fold(cells, task.fold_column, name) for name in tested]


def _fold(cells: npt.NDArray[np.str_], column: str, name: str) -> Division:
    train, test = np.flatnonzero((cells != name) & (cells != "")), np.flatnonzero(cells == name)
    return Division(f"{column} {name}", train, train[:0], test)


def _stratified(rows: Rows, labels: npt.NDArray[np.int64], part: float) -> tuple[Rows, Rows]:
    """Return rows to keep and rows held out, by scikit-learn's stratified split; classes of one clip are kept.

    As many clips as there are classes are held out at least.
    """
    from sklearn.model_selection import train_test_split  # slow to import

    counts = Counter(labels.tolist())
    divisible = np.array([counts[label] > 1 for label in labels.tolist()])
    if not divisible.any():
        raise UserError("every class has one clip only: there is nothing to hold out")
    held_out = max(int(np.ceil(part * divisible.sum())), len(set(labels[divisible].tolist())))
    kept, out = train_test_split(
        rows[divisible], test_size=held_out, stratify=labels[divisible], random_state=SEED, shuffle=True
    )
    return np.sort(np.concatenate([kept, rows[~divisible]])), np.sort(out)


def _fewest_groups(labels: npt.NDArray[np.int64], groups: npt.NDArray[np.str_]) -> int:
    """Return the number of known groups of the class that has fewest."""
    return min(len(set(groups[labels == label].tolist()) - {""}) for label in np.unique(labels))
