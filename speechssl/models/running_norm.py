"""Normalisation by statistics of what was trained on."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


class RunningNorm(nn.Module):
    """Bring log-mel spectrograms to zero mean and unit variance, as BYOL-A does (arXiv 2103.06695, section III).

    One mean and one variance for all bands and frames. Each training batch counts the same, for `updates` batches;
    then they stay as they are. Before the first one the input passes as it is. With several processes, all take part
    in an update, and have the statistics of their batches together. The state is in buffers.

    Args:
        updates: training batches that the statistics follow.
        eps: added to the variance.
    """

    mean: Tensor
    """Scalar."""
    var: Tensor
    """Scalar."""
    count: Tensor
    """Batches that the statistics are of, int64."""

    def __init__(self, updates: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.updates = updates
        self.eps = eps
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("var", torch.tensor(1.0))
        self.register_buffer("count", torch.tensor(0))
        self._settled = False
        self.register_load_state_dict_post_hook(_unsettle)

    def forward(self, log_mel: Tensor) -> Tensor:
        """Return `(batch, mels, frames)`, normalised; in training mode the statistics move first."""
        if self.training and not self._settled:
            # Once, not for each batch of a run: to read the count waits for all that a GPU has in hand.
            self._settled = int(self.count) >= self.updates
            if not self._settled:
                self.update(log_mel)
        return (log_mel - self.mean) * torch.rsqrt(self.var + self.eps)

    @torch.no_grad()
    def update(self, log_mel: Tensor) -> None:
        """Count a batch `(batch, mels, frames)`."""
        variance, mean = torch.var_mean(log_mel.float(), correction=0)
        moments = torch.stack([mean, variance + mean.square()])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(moments)
            moments /= dist.get_world_size()
        # The trainer skips an update that is not finite, and so must the statistics, or they would stay so for good.
        if not bool(moments.isfinite().all()):
            return
        mean, variance = moments[0], moments[1] - moments[0].square()
        share = 1.0 / (self.count + 1)
        step = mean - self.mean
        # The variance of a mixture: the mean of the variances, and what the means differ by.
        self.var += share * (variance - self.var + (1.0 - share) * step.square())
        self.mean += share * step
        self.count += 1


def _unsettle(norm: RunningNorm, *_: object) -> None:
    """What has been loaded may be of fewer batches."""
    norm._settled = False
