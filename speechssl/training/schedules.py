"""Learning rates over a run, as factors of the peak."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from speechssl.training.settings import ScheduleKind, ScheduleSettings


def linear(step: int, steps: int, warmup: int) -> float:
    """Return the factor of an update: linear from 0 to 1 over `warmup`, then linear to 0 at `steps`."""
    if step < warmup:
        return step / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup))


def cosine(step: int, steps: int, warmup: int) -> float:
    """Return the factor of an update: linear from 0 to 1 over `warmup`, then half a cosine to 0 at `steps`."""
    if step < warmup:
        return step / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def infinite(step: int, steps: int, warmup: int, cooldown: int, anneal: int, constant: float, final: float) -> float:
    """Return the factor of an update of the infinite schedule (arXiv 2503.02844).

    Warm-up, cosine cool-down to `constant`, constant for as long as audio comes, and over the last `anneal` updates
    an exponential decay `constant (final / constant) ** (t / anneal)`.
    """
    if step < warmup:
        return step / warmup
    if step < warmup + cooldown:
        return constant + (1 - constant) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / cooldown))
    into_anneal = step - (steps - anneal)
    if anneal == 0 or into_anneal <= 0:
        return constant
    return constant * (final / constant) ** (into_anneal / anneal)


def build_schedule(optimizer: Optimizer, settings: ScheduleSettings, steps: int) -> LambdaLR:
    """Return the schedule of a run of `steps` updates."""
    warmup = max(1, round(settings.warmup * steps))

    def factor(done: int) -> float:
        # The first update is number 1: with number 0 it would change nothing.
        step = done + 1
        if settings.kind is ScheduleKind.linear:
            return linear(step, steps + 1, warmup)
        if settings.kind is ScheduleKind.cosine:
            return cosine(step, steps + 1, warmup)
        if settings.kind is ScheduleKind.constant:
            return min(1.0, step / warmup)
        cooldown = round(settings.cooldown * steps)
        anneal = round(settings.anneal * steps)
        return infinite(step, steps, warmup, cooldown, anneal, settings.constant, settings.final)

    return LambdaLR(optimizer, factor)
