"""The cells of a csv file, and the lines that they are on: a table that is broken anywhere is refused."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from speechssl.errors import UserError, few
from speechssl.files import require_utf8

_ADVICE = "mend them or take their lines out"


def read_cells(file: Path) -> dict[int, dict[str, str]]:
    """Return the cells of each row below the header, by their columns; rows by the number of their first line.

    Raises:
        UserError: the file is not UTF-8, two columns have one name, a quote is not closed, or rows do not have as many
            cells as the header: an unquoted comma has cut a text, for one.
    """
    with open(file, encoding="utf-8-sig", newline="") as stream, require_utf8(file):
        rows = dict(_rows(file, stream))
    header = rows.pop(next(iter(rows), 0), [])
    twice = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if twice:
        raise UserError(f"{file} has the column '{twice[0]}' more than once; rename or take out the others")
    bad = [
        f"line {line} ({', '.join(row[:2])}) has {len(row)} cells, not {len(header)}"
        for line, row in rows.items()
        if len(row) != len(header)
    ]
    require_none_bad(str(file), bad, f"put texts with commas in quotes, and {_ADVICE}")
    return {line: dict(zip(header, row, strict=True)) for line, row in rows.items()}


def _rows(file: Path, stream: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank, and the number of its first line."""
    reader = csv.reader(stream, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            told = f"{file}, line {first}: no row of cells begins here ({error})"
            raise UserError(f"{told}; close its quotes, and double those inside") from error
        if row:
            yield first, row


def require_none_bad(name: str, bad: Sequence[str], advice: str = _ADVICE) -> None:
    """Raise a `UserError` that counts what is bad of `name`, and names the first few; nothing where nothing is."""
    if bad:
        raise UserError(f"{name}: {len(bad)} bad lines: {few(bad)}; {advice}")
