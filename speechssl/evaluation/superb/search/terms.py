"""What is searched in QbE: spoken queries, documents, and which is in which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from speechssl.errors import UserError
from speechssl.evaluation.superb.data import TaskData, Unsearched, Utterance
from speechssl.evaluation.superb.search.twv import TermWeightedValue


@dataclass(frozen=True)
class Terms:
    """The search of one part."""

    queries: Sequence[Utterance]
    documents: Sequence[Utterance]
    matches: Mapping[str, set[str]]
    """Query -> the documents that it is in."""
    unsearched: Unsearched = field(default_factory=Unsearched)

    def values(self, scores: npt.NDArray[np.float64], rows: Sequence[int]) -> TermWeightedValue:
        """Return what the scores `(queries, documents)` are worth, of the queries in `rows`."""
        return TermWeightedValue(
            scores[list(rows)],
            [self.queries[row].name for row in rows],
            [document.name for document in self.documents],
            self.matches,
            self.unsearched.queries,
            self.unsearched.documents,
        )

    def note(self) -> str:
        """Return what a reader of the results should know of it."""
        known = sum(query.name in self.matches for query in self.queries)
        pairs = sum(len(documents) for documents in self.matches.values())
        note = f"{known} of {len(self.queries)} queries are in a document, which makes {pairs} matches"
        if self.unsearched.queries:
            others = f"{self.unsearched.queries} queries and {self.unsearched.documents} documents of other languages"
            note += f"; {others} count as searched with nothing found"
        return note


def read_terms(data: TaskData, part: str) -> Terms:
    """Return what is searched in one part.

    Args:
        data: with the parts `<part>_queries` and `<part>_documents`, and the matches beside them.
        part: `valid` or `test`.

    Raises:
        UserError: a match has a query or document that is not there.
    """
    names = f"{part}_queries", f"{part}_documents"
    queries, documents = (data.parts[name] for name in names)
    asked, there = ({item.name for item in items} for items in (queries, documents))
    unsearched = data.unsearched.get(part, Unsearched())
    matches: dict[str, set[str]] = {}
    for line in data.beside[part]:
        query, document = line.cells["query"], line.cells["document"]
        if query not in asked:
            raise UserError(f"{line.place}: no query '{query}' in {data.name(names[0])}")
        # A match in a document that is not searched is missed.
        if document not in there and not unsearched.documents:
            raise UserError(f"{line.place}: no document '{document}' in {data.name(names[1])}")
        matches.setdefault(query, set()).add(document)
    return Terms(queries, documents, matches, unsearched)
