"""The optimiser of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from speechssl.training.settings import OptimizerKind, OptimSettings


class LarcSGD(torch.optim.SGD):
    """SGD with layer-wise adaptive rates (LARS, arXiv 1708.03888; the variant of NVIDIA's apex that never clips).

    The rate of each weight is `trust ||w|| / (||g|| + weight_decay ||w||)` times the common one, so that no layer moves
    by more than a share of its size. A weight of norm 0, or without gradient, moves at the common rate.

    Args:
        params: as in `torch.optim.SGD`.
        trust: 0.001 as published.
        settings: `lr`, `momentum`, `weight_decay`.
    """

    def __init__(self, params: Any, trust: float, **settings: Any) -> None:
        super().__init__(params, **settings)
        self._trust = trust

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Scale every gradient, weight decay included, and take SGD's step."""
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._scale(weight, group["weight_decay"])
            group["weight_decay"] = 0.0
        try:
            result: float | None = super().step(closure)
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay
        return result

    def _scale(self, weight: torch.Tensor, decay: float) -> None:
        assert weight.grad is not None
        size, slope = weight.norm(), weight.grad.norm()
        rate = self._trust * size / (slope + decay * size)
        rate = torch.where((size > 0) & (slope > 0), rate, 1.0)
        weight.grad = (weight.grad + decay * weight) * rate


def build_optimizer(model: nn.Module, settings: OptimSettings) -> torch.optim.Optimizer:
    """Return AdamW, or stochastic gradient descent with momentum, over the parameters that learn."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings.kind is OptimizerKind.adamw:
        return torch.optim.AdamW(
            parameters,
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    descent: dict[str, Any] = {
        "lr": settings.lr, "momentum": settings.momentum, "weight_decay": settings.weight_decay,
    }  # fmt: skip
    if settings.trust > 0:
        return LarcSGD(parameters, settings.trust, **descent)
    return torch.optim.SGD(parameters, fused=True, **descent)
