"""Tables and sections: made once, shown on the page and in RESULTS.md."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from speechssl.report.reading import is_number

Better = Literal["more", "less", ""]

NOT_KNOWN = "\u2013"
"""What stands where there is no number."""

_DECIMALS = 3


@dataclass(frozen=True)
class Column:
    """Head of a column of numbers."""

    name: str
    better: Better = ""
    """Whether more or less is better; empty where neither is."""
    group: str = ""
    """Neighbouring columns with the same group stand under one head."""
    number: bool = True
    """Whether the column holds numbers (set to the right) or text."""


@dataclass(frozen=True)
class Cell:
    """One value."""

    text: str
    best: bool = False


@dataclass
class TableRow:
    """One line of a table."""

    name: str
    cells: list[Cell]
    better: Better = ""
    """Whether more or less is better, where that is the same for the whole line."""


@dataclass(frozen=True)
class Head:
    """One head over one column, or over a group of neighbours."""

    group: str
    columns: list[Column]


@dataclass
class Table:
    """A table of results."""

    caption: str
    source: str
    """The file that gave the numbers."""
    corner: str
    """Head of the first column."""
    columns: list[Column]
    rows: list[TableRow]
    note: str = ""

    def heads(self) -> list[Head]:
        """Return the heads of the first line: one a column without a group, one a group."""
        heads: list[Head] = []
        for column in self.columns:
            if column.group and heads and heads[-1].group == column.group:
                heads[-1].columns.append(column)
            else:
                heads.append(Head(column.group, [column]))
        return heads


@dataclass(frozen=True)
class Figure:
    """A picture of the page."""

    uri: str
    """Data URI."""
    alt: str
    """What the picture shows, for those who do not see it."""
    caption: str
    wide: bool = False
    """Shown in its own size, to scroll sideways where the screen is narrower."""


@dataclass(frozen=True)
class Fold:
    """Text that the reader can unfold."""

    title: str
    text: str


@dataclass
class Section:
    """One heading of the page and what stands under it."""

    name: str
    title: str
    intro: str
    tables: list[Table] = field(default_factory=list)
    """Shown first."""
    figures: list[Figure] = field(default_factory=list)
    more_figures: list[Figure] = field(default_factory=list)
    """Shown when unfolded."""
    more_title: str = "More curves"
    """What is unfolded."""
    detail_tables: list[Table] = field(default_factory=list)
    """Shown after the figures."""
    folds: list[Fold] = field(default_factory=list)

    def is_empty(self) -> bool:
        """Tell whether there is nothing to show."""
        return not (self.tables or self.figures or self.more_figures or self.detail_tables or self.folds)


def number_text(value: float) -> str:
    """Return a number for people: an int as it is, a float with three decimals below 10 and fewer above."""
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(value)
    if not math.isfinite(value):
        return str(value)
    if 0 < abs(value) < 10**-_DECIMALS:
        return f"{value:.1e}"
    size = abs(value)
    decimals = _DECIMALS if size < 10 else 1 if size < 1000 else 0
    return f"{value:.{decimals}f}"


def known_text(value: Any) -> str:
    """Return a number for people, and a dash where a value read from JSON is none."""
    return number_text(value) if is_number(value) else NOT_KNOWN


def spread_text(values: Sequence[float]) -> str:
    """Return the mean, and with several values `± ` their sample standard deviation (n - 1)."""
    if not values:
        return NOT_KNOWN
    mean = number_text(statistics.fmean(values))
    if len(values) == 1:
        return mean
    if not all(map(math.isfinite, values)):
        return mean
    spread = statistics.stdev(values)
    text = number_text(spread) if "e" in mean else f"{spread:.{_decimals(mean)}f}"
    return f"{mean} \u00b1\u00a0{text}"


def best_rows(means: Sequence[float | None], better: Better, text: Callable[[float], str] = number_text) -> set[int]:
    """Return the indices of the best means; those that read the same as the best, in `text`, count as well."""
    known = [mean for mean in means if mean is not None and math.isfinite(mean)]
    if not known or not better or len(known) < 2:
        return set()
    best = text(max(known) if better == "more" else min(known))
    return {index for index, mean in enumerate(means) if mean is not None and text(mean) == best}


def present(tables: Iterable[Table | None]) -> list[Table]:
    """Return the tables that are there."""
    return [table for table in tables if table is not None]


def mean_or_none(values: Sequence[float]) -> float | None:
    """Return the mean, or `None` without values."""
    return statistics.fmean(values) if values else None


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])
