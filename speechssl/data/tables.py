"""Tab-separated tables with a header line; nothing is quoted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from speechssl.errors import UserError
from speechssl.files import require_file, require_utf8, whole_file

_BREAKS = str.maketrans("\t\n\r", "   ")


def as_cell(value: object) -> str:
    """Return a value as the text of one cell: tabs and line ends become spaces."""
    return str(value).translate(_BREAKS)


def read_header(path: str | Path) -> list[str]:
    """Return the cells of a table's first line."""
    with open(require_file(path), encoding="utf-8-sig", errors="replace") as file:
        return file.readline().rstrip("\n").split("\t")


def read_table(path: str | Path, required: Sequence[str], made_by: str = "") -> Iterator[dict[str, str]]:
    """Yield the rows of a table as dictionaries by column name.

    Args:
        path: the table.
        required: columns that must be there.
        made_by: the command that makes the file, for the message where it is missing.

    Raises:
        UserError: no such file, a column is missing or there twice, a row has another number of cells than the header,
            or the file is not UTF-8.
    """
    with open(require_file(path, made_by), encoding="utf-8-sig") as file, require_utf8(path):
        header = file.readline().rstrip("\n").split("\t")
        _check_header(path, header, required)
        for number, line in enumerate(file, start=2):
            cells = line.rstrip("\n").split("\t")
            if len(cells) != len(header):
                raise UserError(f"{path} line {number} has {len(cells)} columns and the header {len(header)}; mend it")
            yield dict(zip(header, cells, strict=True))


def _check_header(path: str | Path, header: list[str], required: Sequence[str]) -> None:
    missing = [column for column in required if column not in header]
    if missing:
        raise UserError(f"{path} has no column '{missing[0]}': its first line must name the columns, tab-separated")
    names = [column for column in header if column]
    if len(set(names)) < len(names):
        raise UserError(f"{path} names a column twice in its first line")


@contextlib.contextmanager
def table_writer(path: str | Path, columns: Sequence[str]) -> Iterator[Callable[[Sequence[object]], None]]:
    """Yield a function that writes one row; the table appears whole or not at all.

    Tabs and line ends inside a cell become spaces, and bytes of a file name that are not UTF-8 are written escaped.
    """
    with (
        whole_file(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file,
    ):

        def write(row: Sequence[object]) -> None:
            file.write("\t".join(map(as_cell, row)) + "\n")

        write(columns)
        yield write


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a whole table, as :func:`table_writer`."""
    with table_writer(path, columns) as write:
        for row in rows:
            write(row)
