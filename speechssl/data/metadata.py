"""Labels of utterances: one row an audio file, any columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from speechssl.data.tables import read_table, write_table

METADATA = "metadata.tsv"
"""Name of the table, beside the manifests."""

FIXED_COLUMNS = ("path", "split", "seconds")
"""Columns of every `metadata.tsv`; all others are labels."""


def metadata_file(manifest: str | Path) -> Path:
    """Return where the metadata of a manifest's recordings are."""
    return Path(manifest).with_name(METADATA)


def read_metadata(path: str | Path) -> dict[str, dict[str, str]]:
    """Read `metadata.tsv`.

    Returns:
        For each of the manifests' paths a dictionary by column name, `path` included. An empty string is "not known".

    Raises:
        UserError: no such file, no column `path`, or a row that does not fit the header.
    """
    return {row["path"]: row for row in read_table(path, ["path"], made_by="speechssl manifest")}


def write_metadata(path: str | Path, labels: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write `metadata.tsv`, whole or not at all.

    Args:
        path: the file to write.
        labels: names of the label columns.
        rows: cells by column name; one without an entry is left empty.
    """
    columns = [*FIXED_COLUMNS, *labels]
    write_table(path, columns, ([row.get(column, "") for column in columns] for row in rows))
