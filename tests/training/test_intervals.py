"""Checkpoints, validations and lines of metrics in runs of many and of few updates."""

from __future__ import annotations

import pytest

from speechssl.training.intervals import Intervals, fitted_intervals
from speechssl.training.settings import RunSettings


def never() -> int:
    raise AssertionError("an epoch was planned for nothing")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (400_000, Intervals(log=50, validate=1000, checkpoint=1000)),
        (2000, Intervals(log=50, validate=1000, checkpoint=200)),
        (900, Intervals(log=50, validate=900, checkpoint=100)),
        (300, Intervals(log=30, validate=300, checkpoint=30)),
        (7, Intervals(log=1, validate=7, checkpoint=1)),
    ],
)
def test_a_run_of_any_length_is_checkpointed_before_its_end(steps: int, expected: Intervals) -> None:
    assert fitted_intervals(RunSettings(), steps, never) == expected


@pytest.mark.parametrize(
    ("epoch", "steps", "expected"),
    [
        (1, 100, Intervals(log=1, validate=1, checkpoint=10)),
        (37, 3700, Intervals(log=37, validate=37, checkpoint=370)),
        (37, 37, Intervals(log=3, validate=39, checkpoint=3)),
        (1009, 100_900, Intervals(log=48, validate=1008, checkpoint=1008)),
    ],
)
def test_null_is_a_validation_an_epoch(epoch: int, steps: int, expected: Intervals) -> None:
    assert fitted_intervals(RunSettings(validate_every=None), steps, lambda: epoch) == expected
