"""How plots look: in reports and beside results."""

from __future__ import annotations

from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's: told apart with every common kind of colour vision."""
MARKERS = ("o", "s", "^", "D", "v", "P")
PLOT_STYLE: dict[Any, Any] = {
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    # Names out of metadata and of encoders are shown as they are, dollar signs too.
    "text.parse_math": False,
}
"""For `matplotlib.rc_context`; sizes of letters are each plot's own."""
