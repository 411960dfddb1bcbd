"""How often a run writes checkpoints and metrics and looks at held-out data, fitted to its length."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from speechssl.training.settings import RunSettings

_PARTS = 10
"""A run that is killed loses about one part of so many at most."""


@dataclass(frozen=True)
class Intervals:
    """In updates. fairseq2 wants the others to be multiples of `log`."""

    log: int
    """Between lines of `metrics/train.jsonl`."""
    validate: int
    """Between validations; the one at the end is besides."""
    checkpoint: int
    """Between checkpoints; the one at the end is besides."""


def fitted_intervals(run: RunSettings, steps: int, updates_an_epoch: Callable[[], int]) -> Intervals:
    """Return the intervals of a run.

    Args:
        run: what was set.
        steps: updates of the run.
        updates_an_epoch: returns how many there are; called where `validate_every` is null only.
    """
    log, validate = run.log_every, run.validate_every
    if validate is None:
        epoch = updates_an_epoch()
        lines = math.ceil(epoch / log)
        # Of a long epoch less than an update for each of its lines is cut off.
        log = epoch // lines
        validate = lines * log
    part = max(1, steps // _PARTS)
    if validate >= steps:  # nothing but the end is looked at, so lines may be wherever checkpoints are
        log = min(log, part)
        validate = math.ceil(steps / log) * log
    return Intervals(log, validate, log * max(1, round(min(run.checkpoint_every, part) / log)))
