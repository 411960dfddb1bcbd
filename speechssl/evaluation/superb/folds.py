"""Tasks in folds (ER): each fold is tested in turn, and a fifth of the others is what its heads are chosen on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from speechssl.errors import UserError
from speechssl.evaluation.superb.data import TaskData, Utterance, remark_shared

COLUMN = "fold"
_VALID_SHARE = 0.2
"""As in s3prl's ER."""


def divide(data: TaskData, utterances: Sequence[Utterance]) -> list[TaskData]:
    """Return one division a fold.

    Which utterances a fold's heads are chosen on depends on the names only, not on the order of the utterances.

    Args:
        data: what all divisions have in common.
        utterances: all of them, with a label `fold`.

    Raises:
        UserError: there is one fold only, one leaves too few others, or one has a name that no file could have.
    """
    whole = sorted(utterances, key=lambda utterance: utterance.name)
    folds = sorted({utterance.labels[COLUMN] for utterance in whole})
    if len(folds) < 2:
        raise UserError(f"{data.name('folds')}: all utterances are of the fold '{folds[0]}'; give two or more")
    wrong = [fold for fold in folds if not re.fullmatch(r"\w[\w.-]*", fold)]
    if wrong:
        raise UserError(f"{data.name('folds')}: '{wrong[0]}' is no name of a fold: take letters, digits, _, . and -")
    few = [fold for fold in folds if len(_others(whole, fold)) < 2]
    if few:
        raise UserError(
            f"{data.name('folds')}: the fold '{few[0]}' leaves fewer than two utterances, to learn from and to choose "
            "by; divide them otherwise"
        )
    if not data.corpus:
        of_folds = [[item for item in whole if item.labels[COLUMN] == fold] for fold in folds]
        tested = (remark_shared(of_one, _others(whole, fold)) for fold, of_one in zip(folds, of_folds, strict=True))
        whole = sorted(itertools.chain.from_iterable(tested), key=lambda utterance: utterance.name)
    return [
        replace(data, fold=fold, whole=whole, parts=_parts(whole, fold, number)) for number, fold in enumerate(folds)
    ]


def _parts(whole: Sequence[Utterance], fold: str, number: int) -> dict[str, list[Utterance]]:
    others = _others(whole, fold)
    order = np.random.default_rng(number).permutation(len(others))
    chosen = set(order[: max(1, round(_VALID_SHARE * len(others)))].tolist())
    return {
        "train": [utterance for row, utterance in enumerate(others) if row not in chosen],
        "valid": [utterance for row, utterance in enumerate(others) if row in chosen],
        "test": [utterance for utterance in whole if utterance.labels[COLUMN] == fold],
    }


def _others(whole: Sequence[Utterance], fold: str) -> list[Utterance]:
    return [utterance for utterance in whole if utterance.labels[COLUMN] != fold]
