"""Figures of the layer weights: which hidden states a task's heads listen to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechssl.evaluation.overview import TaskResults, encoder_names
from speechssl.files import whole_file
from speechssl.plot_style import COLOURS, MARKERS, PLOT_STYLE

if TYPE_CHECKING:  # matplotlib is slow to import, and only the end of a command draws
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LAYER_WEIGHTS = "layer_weights.png"
"""Figure of one task in its folder, and of all tasks in the folder of all."""
_COLUMNS = 3
_LONGEST_NAME = 32
Weights = Mapping[str, Sequence[Sequence[float]]]
"""Encoder -> weights of the hidden states, of each of its heads."""


def draw_layer_weights(file: Path, tasks: Sequence[TaskResults]) -> None:
    """Draw the weights of the hidden states, a panel a task and a line an encoder.

    A line is the mean over all heads of an encoder (sources, seeds and folds), the band around it their sample standard
    deviation. Encoders with one hidden state have no weights, and neither have tasks whose encoders are all like that;
    without any task nothing is drawn, and an older figure is taken away.

    Args:
        file: the PNG file, written whole or not at all.
        tasks: their results.
    """
    panels = {results["task"]["name"]: weights for results in tasks if (weights := layer_weights(results))}
    if not panels:
        file.unlink(missing_ok=True)
        return
    import matplotlib

    looks = {name: _look(number) for number, name in enumerate(encoder_names(tasks))}
    with matplotlib.rc_context({**PLOT_STYLE, "font.size": 9}), whole_file(file) as temporary:
        # Without the version of matplotlib in the file, the same numbers give the same picture.
        _figure(panels, looks).savefig(temporary, dpi=120, metadata={"Software": None})


def layer_weights(results: TaskResults) -> Weights:
    """Return the weights of every head, by encoder, of those with several hidden states."""
    weights = {
        name: [score["layer_weights"] for score in scores if len(score.get("layer_weights", [])) > 1]
        for name, scores in results["scores"].items()
    }
    return {name: weights[name] for name in encoder_names([results]) if weights[name]}


def _look(number: int) -> dict[str, Any]:
    """Return colour and marker of an encoder; both are told apart, and pairs of them are many."""
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def _figure(panels: Mapping[str, Weights], looks: Mapping[str, dict[str, Any]]) -> Figure:
    """Return a figure with a panel a task, and one legend below them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    names = dict.fromkeys(name for weights in panels.values() for name in weights)
    legend_columns = min(max(2, columns), len(names))
    width, height = (4.8, 3.0) if len(panels) == 1 else (2.9 * columns, 2.2 * rows)
    legend_height = 0.3 + 0.2 * -(-len(names) // legend_columns)
    figure = Figure(figsize=(width, height + legend_height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, (task, weights) in zip(axes, panels.items(), strict=False):
        _draw(axis, task.upper(), weights, looks)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis in axes[max(0, len(panels) - columns) : len(panels)]:
        axis.set_xlabel("hidden state (0: input of the first layer)" if columns == 1 else "hidden state")
    for axis in axes[::columns]:
        axis.set_ylabel("weight")
    handles = {text: line for axis in axes for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=legend_columns)
    return figure


def _draw(axis: Axes, title: str, weights: Weights, looks: Mapping[str, dict[str, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, heads in weights.items():
        # Encoders of one name may be of different depth: their heads are lines of their own.
        for depth in sorted({len(head) for head in heads}):
            values = np.array([head for head in heads if len(head) == depth])
            mean, layers = values.mean(axis=0), range(depth)
            axis.plot(layers, mean, label=_shortened(name), linewidth=1.3, markersize=3.5, **looks[name])
            if len(values) > 1:
                spread = values.std(axis=0, ddof=1)
                axis.fill_between(layers, mean - spread, mean + spread, color=looks[name]["color"], alpha=0.15, lw=0)
    axis.set_title(title, fontsize=9, loc="left")
    axis.set_ylim(bottom=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
