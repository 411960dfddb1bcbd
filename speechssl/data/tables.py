"""Tab-separated tables with a header line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from speechssl.errors import UserError
from speechssl.files import require_file, whole_file

_BREAKS = str.maketrans("\t\n\r", "   ")


def read_table(path: str | Path, required: Sequence[str], made_by: str = "") -> Iterator[dict[str, str]]:
    """Yield the rows of a table as dictionaries by column name; nothing is quoted.

    Args:
        path: the table.
        required: columns that must be there.
        made_by: the command that makes the file, for the message where it is missing.

    Raises:
        UserError: no such file, a column is missing, or a row has another number of cells than the header.
    """
    with open(require_file(path, made_by), encoding="utf-8-sig") as file:
        header = file.readline().rstrip("\n").split("\t")
        missing = [column for column in required if column not in header]
        if missing:
            raise UserError(f"{path} has no column '{missing[0]}': its first line must name the columns, tab-separated")
        try:
            for number, line in enumerate(file, start=2):
                cells = line.rstrip("\n").split("\t")
                if len(cells) != len(header):
                    raise UserError(
                        f"{path} line {number} has {len(cells)} columns and the header {len(header)}; mend it"
                    )
                yield dict(zip(header, cells, strict=True))
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text ({error.reason}); convert it") from error


def write_table(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all. Tabs and line ends inside a cell become spaces."""
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        print(*columns, sep="\t", file=file)
        for row in rows:
            print(*(str(cell).translate(_BREAKS) for cell in row), sep="\t", file=file)
