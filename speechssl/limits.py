"""Between which numbers a setting must lie: an error names it, its value and the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechssl.errors import UserError

LARGEST_SEED = 2**32 - 1
"""numpy's, torch's and scikit-learn's generators have the seeds up to this in common."""


def named(settings: Any, *names: str, prefix: str = "") -> dict[str, Any]:
    """Return some of the settings of a dataclass by name, behind a prefix."""
    return {f"{prefix}{name}": getattr(settings, name) for name in names}


@dataclass(frozen=True)
class Limits:
    """What a number must be, besides finite."""

    above: float | None = None
    """More than this."""
    least: float | None = None
    """This, or more."""
    below: float | None = None
    """Less than this."""
    most: float | None = None
    """This, or less."""

    def hold(self, value: float) -> bool:
        """Return whether a number lies within."""
        return (
            math.isfinite(value)
            and (self.above is None or value > self.above)
            and (self.least is None or value >= self.least)
            and (self.below is None or value < self.below)
            and (self.most is None or value <= self.most)
        )

    def __str__(self) -> str:
        words = {
            "more than {}": self.above,
            "{} or more": self.least,
            "less than {}": self.below,
            "at most {}": self.most,
        }
        return " and ".join(word.format(limit) for word, limit in words.items() if limit is not None)


def require(values: Mapping[str, float | None], **limits: float) -> None:
    """Refuse settings that do not lie within limits, or are no finite number.

    Args:
        values: settings by name; None is one that is not given, which is left alone.
        limits: fields of :class:`Limits`.

    Raises:
        UserError: one of them does not; the first is named.
    """
    within = Limits(**limits)
    for name, value in values.items():
        if value is not None and not within.hold(value):
            finite = " and finite" if math.isinf(value) and limits.keys().isdisjoint(("below", "most")) else ""
            raise UserError(f"{name}={value} must be {within}{finite}")


def require_list(name: str, values: Sequence[float], **limits: float) -> None:
    """Refuse a list that is empty, has a number twice, or one that does not lie within limits, with a `UserError`."""
    within = Limits(**limits)
    if not values or len(set(values)) < len(values) or not all(map(within.hold, values)):
        raise UserError(f"{name}={list(values)} must list different numbers, each {within}")


def require_seeds(seeds: Sequence[int]) -> None:
    """Refuse a list of seeds that is empty, has one twice, or one that a generator does not take."""
    require_list("seeds", seeds, least=0, most=LARGEST_SEED)
