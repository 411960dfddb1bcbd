"""Tables of single values: settings, versions, sizes."""

from __future__ import annotations

from typing import Any

from speechssl.report.reading import is_number
from speechssl.report.tables import Cell, Column, Table, TableRow, number_text


def facts_table(caption: str, source: str, value: Any) -> Table | None:
    """Return the single values of a JSON object (nested ones too) as a table; `None` where it has none."""
    facts = list(_facts(value))
    if not facts:
        return None
    rows = [TableRow(name, [Cell(text)]) for name, text in facts]
    return Table(caption, source, "what", [Column("value", number=False)], rows)


def _facts(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return name and text of the single values; lists of single values are one text."""
    facts: list[tuple[str, str]] = []
    for key, inner in value.items() if isinstance(value, dict) else ():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(inner, dict):
            facts += _facts(inner, name)
        elif isinstance(inner, list):
            facts.append((name, ", ".join(_fact_text(item) for item in inner)))
        else:
            facts.append((name, _fact_text(inner)))
    return facts


def _fact_text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if is_number(value):
        return number_text(value)
    return str(value) or "\u2013"
