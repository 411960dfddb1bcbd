"""Prediction where classes have distances: Loki (Roberts et al., NeurIPS 2023, arXiv 2307.12226).

Instead of the most probable class, the one with the smallest expected squared distance is predicted: the Fréchet mean
of the posterior. Nothing is trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speechssl.data.tables import read_table
from speechssl.errors import UserError, nearest

Distances = npt.NDArray[np.float64]
"""`(classes, classes)`: symmetric, not negative, 0 from a class to itself."""

_NAMES = "class"
"""Column of the lines' names."""


def loki(posteriors: npt.NDArray[np.floating], distances: Distances) -> npt.NDArray[np.int64]:
    """Return `argmin_y sum_i P(i) d(y, i)^2` of each example `(examples,)`; of classes that tie, the first.

    Args:
        posteriors: `(examples, classes)` P; a class with probability 0 throughout can be predicted too.
        distances: `(classes, classes)` d.
    """
    return (posteriors @ np.square(distances)).argmin(axis=1)


def mean_distance(confusion: npt.NDArray[np.int64], distances: Distances) -> float:
    """Return the mean distance of the predicted from the true class, given how often each pair was counted."""
    return float((confusion * distances).sum() / confusion.sum())


def read_distances(path: str | Path, classes: Sequence[str]) -> Distances:
    """Read a square table: a header `class<TAB>NAME<TAB>...`, and a line `NAME<TAB>distance<TAB>...` a class.

    Args:
        path: the table; lines and columns in any order.
        classes: names of all classes, in the order that is returned.

    Raises:
        UserError: the table has other classes, or numbers that are no distances; the first is named.
    """
    rows: dict[str, dict[str, str]] = {}
    for row in read_table(path, [_NAMES]):
        name = row.pop(_NAMES)
        if name in rows:
            raise UserError(f"{path} has two lines of the class '{name}': leave one out")
        rows[name] = row
    _check_names(path, "line", list(rows), classes)
    _check_names(path, "column", list(rows[classes[0]]), classes)
    distances = np.array([[_number(path, rows[one][other], one, other) for other in classes] for one in classes])
    _check_metric(path, distances, classes)
    return distances


def _check_names(path: str | Path, what: str, found: Sequence[str], classes: Sequence[str]) -> None:
    missing = [name for name in classes if name not in found]
    if missing:
        raise UserError(f"{path} has no {what} of the class '{missing[0]}'{nearest(missing[0], found)}: add it")
    strange = [name for name in found if name not in classes]
    if strange:
        raise UserError(
            f"{path} has a {what} of the class '{strange[0]}', which the task lacks{nearest(strange[0], classes)}: "
            "leave it out"
        )


def _number(path: str | Path, cell: str, one: str, other: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"{path}: the distance of {one} and {other} is '{cell}': give a number that is 0 or more")
    return value


def _check_metric(path: str | Path, distances: Distances, classes: Sequence[str]) -> None:
    for number, name in enumerate(classes):
        if distances[number, number] != 0:
            raise UserError(f"{path}: from {name} to itself it is {distances[number, number]:g}: it must be 0")
    for one, other in np.argwhere(distances != distances.T)[:1].tolist():
        raise UserError(
            f"{path}: from {classes[one]} to {classes[other]} it is {distances[one, other]:g}, and back "
            f"{distances[other, one]:g}: make them equal"
        )
