"""Mean and spread of what several seeds gave."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence


def mean_and_spread(values: Sequence[float]) -> dict[str, float]:
    """Return `mean`, `spread` (sample standard deviation; 0 for one value) and `runs` (how many there are)."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "spread": spread, "runs": len(values)}


def summary_text(summary: Mapping[str, float] | None, number: Callable[[float], str]) -> str:
    """Return the mean as `number` writes it, and `± ` the spread where there are several runs; `-` for nothing."""
    if summary is None:
        return "-"
    mean = number(summary["mean"])
    return f"{mean} ± {number(summary['spread'])}" if summary["runs"] > 1 else mean
