"""What the tables of LAPE, HEAR and SUPERB have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from speechssl.report.evaluation import in_order, shown_name
from speechssl.report.reading import JsonObject
from speechssl.report.tables import Better, Cell, Column, Table, TableRow, best_rows, number_text

_NONE = "\u2013"

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
        return _NONE if number is None else f"{self.factor * number:.{self.decimals}f}"

    def text(self, summary: Summary | None) -> str:
        """Return the mean, and the spread where there are several runs."""
        if summary is None:
            return _NONE
        mean = self.value(summary["mean"])
        return f"{mean} \u00b1\u00a0{self.value(summary['spread'])}" if summary["runs"] > 1 else mean

    def cells(self, summaries: Sequence[Summary | None], better: Better) -> list[Cell]:
        """Return a cell an encoder. Scores that read the same as the best are the best as well."""
        means = [None if each is None else round(self.factor * each["mean"], self.decimals) for each in summaries]
        best = best_rows(means, better)
        return [Cell(self.text(each), number in best) for number, each in enumerate(summaries)]


def encoders_of(tasks: Sequence[JsonObject]) -> list[str]:
    """Return the encoders of any task, in the order of the page."""
    return in_order(dict.fromkeys(facts["name"] for results in tasks for facts in results["encoders"]))


def encoder_table(source: str, tasks: Sequence[JsonObject]) -> Table | None:
    """Return size, frame rate and origin of the encoders of some tasks."""
    facts = {encoder["name"]: encoder for results in tasks for encoder in results["encoders"]}
    rows = []
    for name in in_order(facts):
        numbers = [Cell(number_text(facts[name][fact])) for fact in ("parameters", "dim", "frame_rate")]
        rows.append(TableRow(shown_name(name), [*numbers, Cell(", ".join(map(str, facts[name]["sources"])))]))
    columns = [Column(name) for name in ("parameters", "width", "frames a second")]
    columns.append(Column("from", number=False))
    return Table("Encoders", source, "encoder", columns, rows) if rows else None


def left_out_table(source: str, left_out: Sequence[JsonObject]) -> Table | None:
    """Return `what` is not there, and the `reason`."""
    rows = [TableRow(str(item["what"]), [Cell(str(item["reason"]))]) for item in left_out]
    return Table("Left out", source, "what", [Column("why", number=False)], rows) if rows else None
