"""Plots as SVG data URIs (matplotlib, no display)."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator

from speechssl.plot_style import COLOURS, MARKERS, PLOT_STYLE

NAMED_COLOURS = {"hubert": 0, "hubertopic": 1, "random": 2, "fbank": 6}
"""Encoders and methods that have the same colour in every plot; others take the colours left."""
DASHES = ("-", "--", ":", "-.")
MAX_POINTS = 300
STYLE: dict[Any, Any] = {
    **PLOT_STYLE,
    "font.size": 10,
    "legend.fontsize": 10,
    # Letters as outlines: the page looks the same with any fonts; the salt makes equal plots equal bytes.
    "svg.fonttype": "path",
    "svg.hashsalt": "speechssl",
}


XAxis = Literal["steps", "whole", "shares"]
"""What the horizontal axis counts: training steps; whole things, such as layers; or shares of 1, from few to all."""


@dataclass(frozen=True)
class Line:
    """One line of a plot."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int
    """Index of the colour: one a method."""
    dash: int = 0
    """Index of the dashes: one a seed, or one for each line of a colour."""
    spread: Sequence[float] | None = None
    """Half the height of the band around the line."""


def line_plot(
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    markers: bool = False,
    x_axis: XAxis = "steps",
    from_zero: bool = False,
) -> str:
    """Return lines as an SVG data URI; the legend stands below the plot.

    Args:
        lines: what is drawn; of more than 300 points, means of neighbours are drawn.
        x_label: label of the horizontal axis, with its unit.
        y_label: label of the vertical axis, with its unit.
        markers: mark every point.
        x_axis: what the horizontal axis counts; shares are on a logarithmic one, in per cent.
        from_zero: the vertical axis begins at 0, so that a fall is as deep as it looks.
    """
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(4.8, 3.1 + 0.24 * math.ceil(len(lines) / 2)), layout="constrained")
        axes = canvas.add_subplot()
        for line in lines:
            _draw(axes, line, markers)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        if from_zero:
            axes.set_ylim(bottom=0)
        _set_x_axis(axes, x_axis, sorted({x for line in lines for x in line.x}))
        canvas.legend(loc="outside lower center", ncols=2)
        return _svg(canvas)


def bar_plot(bars: Mapping[str, float], x_label: str) -> str:
    """Return horizontal bars as an SVG data URI.

    Args:
        bars: name of each bar, from the top, and its value.
        x_label: label of the horizontal axis, with its unit.
    """
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=(4.8, 1.0 + 0.32 * len(bars)), layout="constrained")
        axes = canvas.add_subplot()
        drawn = axes.barh(range(len(bars)), list(bars.values()), color=COLOURS[0])
        axes.bar_label(drawn, fmt="%.3g", padding=3, fontsize=9)
        axes.margins(x=0.12)
        axes.set_yticks(range(len(bars)), [shortened(name) for name in bars])
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(x_label)
        return _svg(canvas)


def panel_plot(panels: dict[str, dict[str, float]]) -> str:
    """Return small bar charts side by side, one a measure, as an SVG data URI.

    Args:
        panels: title of each panel -> name of each bar -> value.
    """
    with matplotlib.rc_context(STYLE):
        columns = 2
        rows = math.ceil(len(panels) / columns)
        bars = max(len(panel) for panel in panels.values())
        canvas = Canvas(figsize=(4.8, rows * (0.75 + 0.28 * bars)), layout="constrained")
        grid = canvas.subplots(rows, columns, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        for axes, (title, panel) in zip(grid.flat, panels.items(), strict=False):
            axes.set_visible(True)
            drawn = axes.barh(range(len(panel)), list(panel.values()), color=COLOURS[0])
            axes.bar_label(drawn, fmt="%.3g", padding=2, fontsize=8)
            axes.margins(x=0.25)
            # Two names can be the same when shortened, so they are not what the bars stand at.
            axes.set_yticks(range(len(panel)), [shortened(name, 14) for name in panel])
            axes.set_title(title, fontsize=9, loc="left")
            axes.invert_yaxis()
            axes.grid(visible=False)
            axes.xaxis.set_visible(False)
            axes.spines["bottom"].set_visible(False)
        return _svg(canvas)


def colours_of(names: Sequence[str]) -> list[int]:
    """Return the index of the colour of each encoder or method; with more of them than colours some share one."""
    taken = {NAMED_COLOURS[name.lower()] for name in names if name.lower() in NAMED_COLOURS}
    # Those kept for names that are not among these come last.
    free = [index for index in range(len(COLOURS)) if index not in taken]
    free.sort(key=lambda index: index in NAMED_COLOURS.values())
    others = [name for name in names if name.lower() not in NAMED_COLOURS]
    return [
        NAMED_COLOURS[name.lower()] if name.lower() in NAMED_COLOURS else free[others.index(name) % len(free)]
        for name in names
    ]


def picture_uri(path: Path) -> str:
    """Return a PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def thinned(x: Sequence[float], y: Sequence[float], most: int = MAX_POINTS) -> tuple[list[float], list[float]]:
    """Return at most `most` points: means of neighbours where there are more; not finite ones are left out.

    The last block takes what is left over, so every point counts once.
    """
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    size = math.ceil(len(pairs) / most) or 1
    blocks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
    return (
        [sum(a for a, _ in block) / len(block) for block in blocks],
        [sum(b for _, b in block) / len(block) for block in blocks],
    )


def shortened(text: str, most: int = 28) -> str:
    """Return `text` in one line of at most `most` characters."""
    text = " ".join(text.split())
    if text.startswith("_"):
        text = f"\u200b{text}"  # matplotlib leaves names out of the legend that begin with an underscore
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def _set_x_axis(axes: Axes, x_axis: XAxis, values: Sequence[float]) -> None:
    if x_axis == "steps":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    elif x_axis == "whole":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.set_xscale("log")
        axes.set_xticks(values, [f"{100 * value:g} %" for value in values])
        axes.xaxis.set_minor_locator(NullLocator())


def _draw(axes: Axes, line: Line, markers: bool) -> None:
    x, y = thinned(line.x, line.y)
    colour = COLOURS[line.colour % len(COLOURS)]
    axes.plot(
        x,
        y,
        DASHES[line.dash % len(DASHES)],
        color=colour,
        label=shortened(line.label),
        linewidth=1.4,
        marker=MARKERS[line.colour % len(MARKERS)] if markers or len(x) == 1 else None,
        markersize=4,
    )
    if line.spread is not None:
        low = [a - b for a, b in zip(line.y, line.spread, strict=True)]
        high = [a + b for a, b in zip(line.y, line.spread, strict=True)]
        axes.fill_between(line.x, low, high, color=colour, alpha=0.15, linewidth=0)


def _svg(canvas: Canvas) -> str:
    FigureCanvasAgg(canvas)
    file = io.BytesIO()
    canvas.savefig(file, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()
