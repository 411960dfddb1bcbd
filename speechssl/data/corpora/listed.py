"""Corpora with a list of their recordings: what is only in the list or only on disk is rejected, not passed over."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechssl.data.corpora.corpus import Entry
from speechssl.data.walk import walk_audio
from speechssl.errors import UserError
from speechssl.files import require_file


def listed_entries(root: Path, folders: Sequence[str], listed: Iterable[Entry], source: str) -> Iterator[Entry]:
    """Yield every recording that is in a list or on the disk.

    Args:
        root: folder of the corpus.
        folders: where its recordings are, relative to the root.
        listed: what the corpus's own list says, in any order.
        source: name of the list, for the reasons.

    Raises:
        UserError: the list names a recording twice.
    """
    missing: dict[str, Entry] = {}
    for entry in listed:
        if entry.path in missing:
            raise UserError(f"{source} below {root} names {entry.path} a second time; unpack the corpus again")
        missing[entry.path] = entry
    for folder in folders:
        for found in walk_audio(root / folder):
            path = f"{folder}/{found.path}"
            known = missing.pop(path, Entry(path, rejected=f"not in {source}"))
            yield replace(known, rejected=found.rejected or known.rejected)
    for entry in missing.values():
        yield replace(entry, rejected=entry.rejected or f"in {source}, but there is no such file")


def read_csv(
    path: Path, required: Sequence[str], advice: str = "unpack the corpus again", **dialect: Any
) -> Iterator[dict[str, str]]:
    """Yield the rows of a table with a header line, as dictionaries by column name.

    Args:
        path: the table.
        required: columns that must be there.
        advice: what to do about a table that is broken.
        dialect: how it is written, as Python's `csv` takes it. Default: commas between the cells.

    Raises:
        UserError: no such file, a column is missing or there twice, a row has another number of cells than the header,
            or the file is not UTF-8.
    """
    with open(require_file(path), encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, **dialect)
        try:
            columns = [column for column in rows.fieldnames or () if column]
            missing = [column for column in required if column not in columns]
            if missing:
                raise UserError(f"{path} has no column '{missing[0]}' in its first line; {advice}")
            if len(set(columns)) < len(columns):
                raise UserError(f"{path} names a column twice in its first line; {advice}")
            for row in rows:
                if None in row or None in row.values():
                    raise UserError(
                        f"{path} line {rows.line_num} has another number of cells than the first line; {advice}"
                    )
                yield row
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path} is not a table in UTF-8 ({error}); {advice}") from error
