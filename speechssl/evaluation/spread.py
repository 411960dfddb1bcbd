"""Mean and spread of what several seeds gave."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def mean_and_spread(values: Sequence[float]) -> dict[str, float]:
    """Return `mean`, `spread` (sample standard deviation; 0 for one value) and `runs` (how many there are)."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "spread": spread, "runs": len(values)}
