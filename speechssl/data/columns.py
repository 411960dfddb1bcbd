"""Columns of the metadata that name classes, and how well labels of utterances agree with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from speechssl.data.manifest import Manifest
from speechssl.data.metadata import FIXED_COLUMNS, metadata_file, read_metadata
from speechssl.errors import UserError

_NO_CLASSES = (*FIXED_COLUMNS, "text")
"""Columns that name no class of utterances."""

Columns = dict[str, list[str]]
"""Cells of each metadata column, one an utterance; an empty one is not known."""


def class_columns(manifest: Manifest) -> Columns:
    """Return the columns of the metadata beside a manifest that name classes; none where there are no metadata.

    Raises:
        UserError: an utterance has no row.
    """
    source = metadata_file(manifest.file)
    if not source.is_file():
        return {}
    metadata, paths = read_metadata(source), manifest.paths
    missing = [path for path in paths if path not in metadata]
    if missing:
        raise UserError(
            f"{source} has no row for {missing[0]} ({len(missing)} of {len(paths)} utterances); "
            "make manifests and metadata again, or add what is missing"
        )
    names = [name for name in metadata[paths[0]] if name not in _NO_CLASSES]
    return {name: [metadata[path].get(name, "") for path in paths] for name in names}


def agreement(labels: npt.NDArray[np.int64], cells: Sequence[str]) -> dict[str, float]:
    """Return how much labels and a metadata column tell of each other, over the utterances where it is known.

    Args:
        labels: `(utterances,)` topics or clusters.
        cells: the column; empty where it is not known.

    Returns:
        `nmi` (normalised by the mean of both entropies: with more labels than values it stays below 1),
        `homogeneity` (share of the entropy of the column that the labels explain, 1 where every label has one
        value), the number of different `values` and of `utterances` where it is known.
    """
    # Imported here: reading metadata must not need scikit-learn.
    from sklearn.metrics import homogeneity_score, normalized_mutual_info_score

    known = [number for number, cell in enumerate(cells) if cell]
    values = [cells[number] for number in known]
    result: dict[str, float] = {"utterances": len(known), "values": len(set(values))}
    if result["values"] > 1:
        result["nmi"] = float(normalized_mutual_info_score(values, labels[known]))
        result["homogeneity"] = float(homogeneity_score(values, labels[known]))
    return result
