"""Between which numbers a setting must lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from speechssl.errors import UserError
from speechssl.limits import named, require, require_list, require_seeds


@dataclass
class Settings:
    rate: float = 0.5
    share: float | None = None


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (0, {"above": 0}, "lr=0 must be more than 0"),
        (-1, {"least": 0}, "lr=-1 must be 0 or more"),
        (1.0, {"least": 0, "below": 1}, "lr=1.0 must be 0 or more and less than 1"),
        (1.5, {"above": 0, "most": 1}, "lr=1.5 must be more than 0 and at most 1"),
        (math.nan, {"least": 0}, "lr=nan must be 0 or more"),
        (math.inf, {"above": 0}, "lr=inf must be more than 0 and finite"),
    ],
)
def test_a_number_outside_of_its_limits_is_named_with_them(value, limits, message):
    with pytest.raises(UserError) as error:
        require({"fine": 0.5, "lr": value}, **limits)
    assert str(error.value) == message


@pytest.mark.parametrize(("value", "limits"), [(1, {"least": 1}), (1, {"most": 1}), (None, {"above": 0})])
def test_a_limit_that_belongs_to_it_and_what_is_not_given_pass(value, limits):
    require({"lr": value}, **limits)


def test_settings_are_named_as_they_are_given():
    assert named(Settings(), "rate", "share", prefix="optim.") == {"optim.rate": 0.5, "optim.share": None}


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1], [2**32]])
def test_seeds_are_different_and_such_that_every_generator_takes_them(seeds):
    with pytest.raises(UserError, match="seeds"):
        require_seeds(seeds)


@pytest.mark.parametrize("rates", [[], [0.1, 0.1], [0.1, 0], [math.inf]])
def test_a_list_has_different_numbers_within_its_limits(rates):
    with pytest.raises(UserError) as error:
        require_list("lr", rates, above=0)
    assert str(error.value) == f"lr={rates} must list different numbers, each more than 0"


def test_a_list_within_its_limits_passes():
    require_list("lr", [0.1, 1], above=0)
