"""Learning rates at points worked by hand."""

from __future__ import annotations

import pytest
import torch

from speechssl.errors import UserError
from speechssl.training.schedules import build_schedule, cosine, infinite, linear
from speechssl.training.settings import ScheduleKind, ScheduleSettings


def test_linear_as_published():
    # 32 k warm-up to the peak, 0 at 400 k; half way down in between.
    assert linear(16_000, 400_000, 32_000) == pytest.approx(0.5)
    assert linear(32_000, 400_000, 32_000) == pytest.approx(1.0)
    assert linear(216_000, 400_000, 32_000) == pytest.approx(0.5)
    assert linear(400_000, 400_000, 32_000) == 0.0


def test_infinite_by_hand():
    def rate(step: int) -> float:
        return infinite(step, steps=1000, warmup=100, cooldown=200, anneal=100, constant=0.25, final=0.01)

    assert rate(50) == pytest.approx(0.5)
    assert rate(100) == pytest.approx(1.0)
    assert rate(200) == pytest.approx(0.25 + 0.75 / 2)
    assert rate(300) == rate(600) == rate(900) == pytest.approx(0.25)
    assert rate(950) == pytest.approx((0.25 * 0.01) ** 0.5)
    assert rate(1000) == pytest.approx(0.01)


def test_infinite_goes_on_at_the_constant_rate_where_another_run_left_it():
    def rates(**settings: float) -> list[float]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = build_schedule(optimizer, ScheduleSettings(kind=ScheduleKind.infinite, anneal=0.0, **settings), 100)
        found = []
        for _ in range(100):
            found.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        return found

    assert rates()[-1] == pytest.approx(0.25)
    assert set(rates(warmup=0.0, cooldown=0.0)) == {0.25}


@pytest.mark.parametrize("kind", list(ScheduleKind))
def test_no_update_is_wasted(kind):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = build_schedule(optimizer, ScheduleSettings(kind=kind, steps=50), 50)
    rates = []
    for _ in range(50):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert min(rates) > 0
    assert max(rates) == pytest.approx(1.0)


def test_cosine_is_torch_s_own_after_the_warm_up():
    """torch's CosineAnnealingLR reaches 0 one update after the last one of ours."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=16)
    for step in range(5, 21):
        assert cosine(step, steps=21, warmup=5) == pytest.approx(theirs.get_last_lr()[0], abs=1e-6)
        optimizer.step()
        theirs.step()
    assert cosine(2, steps=21, warmup=5) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"constant": 0.0}, r"schedule\.constant=0\.0 must be more than 0"),
        ({"final": -0.1}, r"schedule\.final=-0\.1 must be more than 0"),
        ({"cooldown": -0.5}, r"schedule\.cooldown=-0\.5 must be 0 or more and at most 1"),
        ({"anneal": 1.5}, r"schedule\.anneal=1\.5 must be 0 or more and at most 1"),
        ({"warmup": 0.85}, r"schedule\.warmup, schedule\.cooldown, schedule\.anneal are shares .* together at most 1"),
    ],
)
def test_a_share_that_cannot_be_is_named(settings, message):
    with pytest.raises(UserError, match=message):
        ScheduleSettings(kind=ScheduleKind.infinite, **settings)


@pytest.mark.parametrize("kind", [ScheduleKind.linear, ScheduleKind.cosine, ScheduleKind.constant])
def test_a_kind_checks_only_what_it_reads(kind):
    assert ScheduleSettings(kind=kind, warmup=0.85, constant=0.0).warmup == 0.85
    with pytest.raises(UserError, match=r"schedule\.warmup=-0\.1 must be 0 or more and at most 1"):
        ScheduleSettings(kind=kind, warmup=-0.1)
