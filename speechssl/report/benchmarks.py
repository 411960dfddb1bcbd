"""What the tables of LAPE, HEAR and SUPERB have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from speechssl.report.encoders import in_order
from speechssl.report.reading import JsonObject
from speechssl.report.tables import NOT_KNOWN, Better, Cell, best_rows

Summary = Mapping[str, float]
"""`mean`, `spread` and `runs`."""


@dataclass(frozen=True)
class Scale:
    """How a score is shown."""

    factor: float = 1.0
    """What it is multiplied by: 100 gives per cent."""
    decimals: int = 3

    def value(self, number: float | None) -> str:
        """Return a number as text."""
        return NOT_KNOWN if number is None else f"{self.factor * number:.{self.decimals}f}"

    def text(self, summary: Summary | None) -> str:
        """Return the mean, and the spread where there are several runs."""
        if summary is None:
            return NOT_KNOWN
        mean = self.value(summary["mean"])
        return f"{mean} \u00b1\u00a0{self.value(summary['spread'])}" if summary["runs"] > 1 else mean

    def cells(self, summaries: Sequence[Summary | None], better: Better) -> list[Cell]:
        """Return a cell an encoder. Scores that read the same as the best are the best as well."""
        best = best_rows([None if each is None else each["mean"] for each in summaries], better, self.value)
        return [Cell(self.text(each), number in best) for number, each in enumerate(summaries)]


def encoders_of(tasks: Sequence[JsonObject]) -> list[str]:
    """Return the encoders of any task, in the order of the page."""
    return in_order(facts_of(tasks))


def facts_of(tasks: Sequence[JsonObject]) -> dict[str, JsonObject]:
    """Return what the results of some tasks say of their encoders."""
    return {encoder["name"]: encoder for results in tasks for encoder in results["encoders"]}


def summary_of(results: JsonObject, encoder: str, score: str) -> Summary | None:
    """Return the mean and spread of a score of a task; `None` where the encoder has none."""
    summary: Summary | None = results["summary"].get(encoder, {}).get(score)
    return summary
