"""Batch norm over the batches of all processes on CPUs, and how to undo what a batch did to running statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class SharedBatchNorm(nn.Module):
    """Normalises by mean and variance of the batches of all processes together; gradients flow through both.

    `torch.nn.SyncBatchNorm` does it on GPUs, and on GPUs only.

    Weights and buffers keep the names that they have in batch norm.

    Args:
        norm: whose weights and statistics are taken over.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.eps = norm.eps
        assert norm.momentum is not None
        self.momentum = norm.momentum
        self.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, channels, ...)` normalised over all but the channels; in training over all processes."""
        if not self.training:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        others = [dim for dim in range(x.dim()) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(x.dim())]
        values = x.float()
        count = values.new_tensor([values.numel() / values.size(1)])
        total = all_reduce(torch.cat([values.sum(others), count]))
        count, mean = total[-1].detach(), total[:-1] / total[-1].detach()
        centred = values - mean.view(shape)
        variance = all_reduce(centred.square().sum(others)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        normalised = centred * scale.view(shape)
        if self.bias is not None:
            normalised = normalised + self.bias.view(shape)
        return normalised.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of this batch."""
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def share_batch_norm(module: nn.Module) -> None:
    """Replace every batch norm below `module`, in place."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, SharedBatchNorm(child))
        else:
            share_batch_norm(child)


class RunningStatistics:
    """Keeps the running statistics of every batch norm of a model, which a forward pass in training mode changes."""

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if isinstance(module, (_BatchNorm, SharedBatchNorm))]
        self._now = [buffer for norm in norms for buffer in norm.buffers()]
        self._kept = [buffer.clone() for buffer in self._now]

    def keep(self) -> None:
        """Remember them as they are."""
        for now, kept in zip(self._now, self._kept, strict=True):
            kept.copy_(now)

    def put_back(self) -> None:
        """Make them what they were when `keep` was called last."""
        for now, kept in zip(self._now, self._kept, strict=True):
            now.copy_(kept)
