"""The picture of topics against what is known of the utterances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from speechssl.data.columns import Columns, agreement
from speechssl.files import whole_file

MOST_VALUES = 40
"""Columns with more different values are left out of the picture; `quality.json` has them."""


def topic_table(
    labels: npt.NDArray[np.int64], cells: Sequence[str], topics: int
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the different values of a column, sorted, and `(values, topics)` counts of utterances.

    Utterances with an empty cell are not counted.
    """
    values = sorted({cell for cell in cells if cell})
    rows = {value: row for row, value in enumerate(values)}
    counts = np.zeros((len(values), topics), dtype=np.int64)
    for label, cell in zip(labels, cells, strict=True):
        if cell:
            counts[rows[cell], label] += 1
    return values, counts


def plot_topics(path: str | Path, labels: npt.NDArray[np.int64], topics: int, columns: Columns) -> None:
    """Draw topic sizes, and for every column with 2 to 40 values the share of each topic in each value.

    Args:
        path: the PNG file, written whole or not at all.
        labels: `(utterances,)` topics.
        topics: number of topics.
        columns: metadata.
    """
    tables = {name: topic_table(labels, cells, topics) for name, cells in columns.items()}
    drawn = {name: table for name, table in tables.items() if 2 <= len(table[0]) <= MOST_VALUES}
    heights = [2.0, *(1.0 + 0.3 * len(values) for values, _ in drawn.values())]
    figure = Figure(figsize=(1.5 + 0.6 * max(topics, 8), sum(heights) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(len(heights), height_ratios=heights))
    _draw_sizes(axes[0], labels, topics)
    for axis, (name, (values, counts)) in zip(axes[1:], drawn.items(), strict=True):
        nmi = agreement(labels, columns[name])["nmi"]
        _draw_shares(axis, f"{name}: share of each topic (NMI {nmi:.2f})", values, counts)
    with whole_file(path) as temporary:
        # Without the version of matplotlib in the file, the same topics give the same picture.
        figure.savefig(temporary, dpi=100, metadata={"Software": None})


def _draw_sizes(axis: Axes, labels: npt.NDArray[np.int64], topics: int) -> None:
    axis.bar(range(topics), np.bincount(labels, minlength=topics), color="tab:blue")
    axis.set(title="utterances of each topic", xlim=(-0.5, topics - 0.5), xticks=range(topics), ylabel="utterances")


def _draw_shares(axis: Axes, title: str, values: list[str], counts: npt.NDArray[np.int64]) -> None:
    shares = counts / counts.sum(1, keepdims=True)
    image = axis.imshow(shares, aspect="auto", cmap="Blues", vmin=0, vmax=1)
    names = [f"{value} ({count})" for value, count in zip(values, counts.sum(1), strict=True)]
    axis.set(title=title, xlabel="topic", xticks=range(counts.shape[1]), yticks=range(len(values)), yticklabels=names)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            axis.text(
                column,
                row,
                f"{share:.2f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if share > 0.5 else "black",
            )
    axis.figure.colorbar(image, ax=axis)
