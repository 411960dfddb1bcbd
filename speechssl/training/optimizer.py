"""The optimiser of a run."""

from __future__ import annotations

import torch
from torch import nn

from speechssl.training.settings import OptimizerKind, OptimSettings


def build_optimizer(model: nn.Module, settings: OptimSettings) -> torch.optim.Optimizer:
    """Return AdamW, or stochastic gradient descent with momentum, over the parameters that learn."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings.kind is OptimizerKind.sgd:
        return torch.optim.SGD(
            parameters, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=True
        )
    return torch.optim.AdamW(
        parameters,
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )
