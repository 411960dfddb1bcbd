"""What several objectives over views share: projection heads, slow copies of modules, full precision."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def projection(widths: list[int], norm: bool = True, bias: bool = True) -> nn.Sequential:
    """Return linear layers between the widths, with BatchNorm and ReLU between one layer and the next.

    Args:
        widths: widths of the input, of the hidden layers and of the output.
        norm: whether BatchNorm comes before each ReLU.
        bias: whether the linear layers have one.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs, bias=bias)]
        layers += [nn.BatchNorm1d(outputs), nn.ReLU()] if norm else [nn.ReLU()]
    # Nothing follows the last layer.
    return nn.Sequential(*layers[: -2 if norm else -1])


def unit_vectors(features: Tensor) -> Tensor:
    """Return `(batch, dim)` in float32, each row with length 1: their products are cosines."""
    return F.normalize(features.float(), dim=1)


def full_precision(tensor: Tensor) -> torch.autocast:
    """Return a context in which autocast is off: losses are computed in float32, whatever the encoder computes in."""
    return torch.autocast(tensor.device.type, enabled=False)


class MomentumCopy(nn.Module):
    """Copies of modules that follow them slowly: `copy <- m copy + (1 - m) module` (MoCo, arXiv 1911.05722).

    No gradient reaches the copies. Their BatchNorm layers keep statistics of their own batches, as published.

    Args:
        momentum: m.
        modules: what is copied.
    """

    followed: Tensor

    def __init__(self, momentum: float, *modules: nn.Module) -> None:
        super().__init__()
        self.momentum = momentum
        self.copies = nn.ModuleList(copy.deepcopy(module).requires_grad_(False) for module in modules)
        self.register_buffer("followed", torch.zeros(()))

    @torch.no_grad()
    def follow(self, *modules: nn.Module) -> None:
        """Move the copies towards the modules. The first time they become equal, for weights may have been loaded."""
        step = torch.where(self.followed > 0, 1 - self.momentum, 1.0)
        for own, module in zip(self.copies, modules, strict=True):
            for slow, fast in zip(own.parameters(), module.parameters(), strict=True):
                slow.lerp_(fast, step.to(slow.dtype))
        self.followed.fill_(1)
