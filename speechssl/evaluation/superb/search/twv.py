"""Term-weighted values: how much of what is said a search finds, less what it finds wrongly."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

BETA = (1 / 0.0008 - 1) / 100
"""What a false alarm costs, of a miss: prior 0.0008, cost of a miss 100, of a false alarm 1, as in QUESST 2014."""


class TermWeightedValue:
    """The term-weighted value of a search at any threshold (NIST's STD 2006, with trials of whole documents).

    It is the mean over queries of `1 - misses / matches - BETA * false alarms / other documents`. A query that is in no
    document does not count.

    Args:
        scores: `(queries, documents)`, more for what is more likely a match.
        queries: their names.
        documents: their names.
        matches: query -> the documents that it is in; they may be others than those that were searched.
        other_queries: how many more there are, with matches, that were not searched: all of theirs is missed.
        other_documents: how many more there are that were not searched: no false alarm is in them.
    """

    def __init__(
        self,
        scores: npt.NDArray[np.float64],
        queries: Sequence[str],
        documents: Sequence[str],
        matches: Mapping[str, Collection[str]],
        other_queries: int = 0,
        other_documents: int = 0,
    ) -> None:
        known = [row for row, name in enumerate(queries) if matches.get(name)]
        self.queries = len(known) + other_queries
        """Those that count."""
        values = np.empty((len(known), len(documents)))
        for place, row in enumerate(known):
            wanted = matches[queries[row]]
            found = np.array([name in wanted for name in documents])
            others = len(documents) + other_documents - len(wanted)
            values[place] = np.where(found, 1 / len(wanted), -BETA / max(1, others)) / self.queries
        searched = np.asarray(scores)[known].ravel()
        order = np.argsort(-searched, kind="stable")
        self._scores = searched[order]
        self._values = values.ravel()[order]

    def at(self, threshold: float) -> float:
        """Return the value if all pairs of at least this score are said to be matches."""
        return float(self._values[self._scores >= threshold].sum())

    def best(self) -> tuple[float, float]:
        """Return the largest value, and the threshold that gives it; to find nothing is worth 0, at infinity."""
        sums = np.cumsum(self._values)
        # Pairs of one score are found together.
        ends = np.flatnonzero(np.diff(self._scores, append=-math.inf))
        if not len(ends) or sums[ends].max() <= 0:
            return 0.0, math.inf
        best = ends[sums[ends].argmax()]
        return float(sums[best]), float(self._scores[best])
