"""The encoders of an evaluation: their order, their names on the page, and a table of what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from speechssl.report.reading import JsonObject
from speechssl.report.tables import Cell, Column, Table, TableRow, known_text

NAMES = {"fbank": "FBANK", "random": "random", "hubert": "HuBERT", "hubertopic": "HuBERTopic"}
"""How the encoders that every recipe compares are called on the page, in their order."""

SIZES = {"parameters": "parameters", "dim": "width", "frame_rate": "frames a second"}
"""What every benchmark says of an encoder, by its key -> the head of its column."""


def in_order(encoders: Iterable[str]) -> list[str]:
    """Return the encoders: those of every recipe first, in their order."""
    order = list(NAMES)
    return sorted(encoders, key=lambda name: order.index(name.lower()) if name.lower() in order else len(order))


def shown_name(encoder: str) -> str:
    """Return the name of an encoder on the page."""
    return NAMES.get(encoder.lower(), encoder)


def encoder_table(source: str, facts: Mapping[str, JsonObject], heads: Mapping[str, str] = SIZES) -> Table | None:
    """Return numbers and origin of encoders.

    Args:
        source: the file that gave them.
        facts: encoder -> what the results say of it.
        heads: the numbers to show, by their keys in the facts -> heads of the columns.
    """
    rows = []
    for name in in_order(facts):
        numbers = [Cell(known_text(facts[name].get(key))) for key in heads]
        rows.append(TableRow(shown_name(name), [*numbers, Cell(", ".join(map(str, facts[name].get("sources", []))))]))
    columns = [*map(Column, heads.values()), Column("from", number=False)]
    return Table("Encoders", source, "encoder", columns, rows) if rows else None


def left_out_table(source: str, left_out: Sequence[JsonObject]) -> Table | None:
    """Return `what` is not there, and the `reason`."""
    rows = [TableRow(str(item["what"]), [Cell(str(item["reason"]))]) for item in left_out]
    return Table("Left out", source, "what", [Column("why", number=False)], rows) if rows else None
