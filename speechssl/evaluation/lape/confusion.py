"""The picture of the confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechssl.evaluation.lape.scores import Confusion, accuracy
from speechssl.files import whole_file

MOST_NAMES = 60
"""With more classes than this, their names are left out."""
_COLUMNS = 3


def plot_confusion(path: Path, matrices: Mapping[str, Confusion], classes: Sequence[str], task: str) -> None:
    """Draw one matrix an encoder: for each true class (a line) the share of each predicted class (a column).

    Args:
        path: the PNG file, written whole or not at all.
        matrices: `(classes, classes)` counts by encoder.
        classes: their names.
        task: for the title.
    """
    columns = min(_COLUMNS, len(matrices))
    rows = -(-len(matrices) // columns)
    size = 2.5 + 0.14 * min(len(classes), MOST_NAMES)
    figure = Figure(figsize=(columns * size, rows * size + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{task}: true class (line) and predicted class (column)", fontsize=9)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).flatten()
    for axis, (name, matrix) in zip(axes, matrices.items(), strict=False):
        _draw(axis, f"{name}: {100 * accuracy(matrix):.1f} % right", matrix, classes)
    for axis in axes[len(matrices) :]:
        axis.set_axis_off()
    with whole_file(path) as temporary:
        # Without the version of matplotlib in the file, the same numbers give the same picture.
        figure.savefig(temporary, dpi=100, metadata={"Software": None})


def _draw(axis: Axes, title: str, matrix: Confusion, classes: Sequence[str]) -> None:
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize=8)
    if len(classes) > MOST_NAMES:
        axis.set_xticks([])
        axis.set_yticks([])
        return
    axis.set_xticks(range(len(classes)), classes, rotation=90, fontsize=6)
    axis.set_yticks(range(len(classes)), classes, fontsize=6)
