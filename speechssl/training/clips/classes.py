"""Classes of recordings: a column of the metadata beside a manifest."""

from __future__ import annotations

from pathlib import Path

from speechssl.data.columns import class_columns
from speechssl.data.manifest import Manifest
from speechssl.data.metadata import read_metadata
from speechssl.errors import UserError, nearest


def metadata_file(manifest: Manifest) -> Path:
    """Return where the metadata of a manifest's recordings are."""
    return manifest.file.with_name("metadata.tsv")


def read_classes(manifest: Manifest, column: str) -> list[str]:
    """Return the class of each recording, in the manifest's order; empty where it is not known.

    Raises:
        UserError: the metadata lack the column or a recording.
    """
    table = metadata_file(manifest)
    columns = class_columns(manifest.paths, read_metadata(table), str(table))
    if column not in columns:
        raise UserError(
            f"{table} has no column '{column}' of classes{nearest(column, columns)} "
            f"(known: {', '.join(columns) or 'none'}); mend column="
        )
    return columns[column]
