"""Utterances that have the same value in a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from speechssl.evaluation.superb.data import Utterance

UNKNOWN = "unknown"
"""The value of utterances that have none."""


def rows_by_value(utterances: Sequence[Utterance], column: str) -> Mapping[str, list[int]]:
    """Return the rows of the utterances of each value of a column, values in their order."""
    rows: dict[str, list[int]] = {}
    for row, utterance in enumerate(utterances):
        rows.setdefault(utterance.labels.get(column) or UNKNOWN, []).append(row)
    return dict(sorted(rows.items()))
