"""Classes of recordings: a column of the metadata beside a manifest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from speechssl.data.columns import class_columns
from speechssl.data.manifest import Manifest
from speechssl.data.metadata import metadata_file
from speechssl.errors import UserError, nearest
from speechssl.files import require_file


def read_classes(manifest: Manifest, column: str, setting: str = "column") -> list[str]:
    """Return the class of each recording, in the manifest's order; empty where it is not known.

    Args:
        manifest: lists the recordings.
        column: of the metadata beside it.
        setting: which setting names the column, for the message.

    Raises:
        UserError: there are no metadata, or they lack the column or a recording.
    """
    require_file(metadata_file(manifest.file), made_by="speechssl manifest")
    columns = class_columns(manifest)
    if column not in columns:
        raise UserError(
            f"{metadata_file(manifest.file)} has no column '{column}' of classes{nearest(column, columns)} "
            f"(known: {', '.join(columns) or 'none'}); mend {setting}="
        )
    return columns[column]


def class_numbers(cells: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return `(recordings,)` places of the cells among the classes; -1 where a cell is empty."""
    places = {name: place for place, name in enumerate(classes)} | {"": -1}
    return np.array([places[cell] for cell in cells], dtype=np.int64)
