"""What every objective over views of a clip takes and returns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechssl.models.backbone import Backbone
from speechssl.objectives.objective import ObjectiveOutput


@dataclass
class ViewBatch:
    """A batch of clips, each seen in two ways or more.

    Of more than two, an objective compares every pair, or all with one of them, and its loss is the mean.
    """

    views: list[Tensor]
    """Two log-mel spectrograms or more, `(batch, mels, frames)`, normalised and augmented; the first dimension is the
    same clips in the same order in each."""
    clips: Tensor
    """`(batch,)` int64: the clips' places in the manifest."""
    epoch: int
    """Epoch that the batch is of, from 0; -1 before the first update."""

    def __post_init__(self) -> None:
        if len(self.views) < 2:
            raise ValueError(f"objectives over views compare 2 of a clip or more, and here are {len(self.views)}")


class ViewObjective(nn.Module):
    """A loss over views, with its own parameters: heads, momentum copies, queues, memory banks.

    All state is in parameters and buffers, so that checkpoints hold it.
    """

    metrics: Sequence[str]
    """Names of the metrics that it returns."""
    hears_all_first = False
    """Whether all clips are to pass through it in training mode, without gradients and of epoch -1, before the first
    update."""

    def check_epochs(self, epochs: float) -> None:
        """Refuse a run of so many epochs if it would be over before the objective has begun with all that is set.

        Raises:
            UserError: it would.
        """

    @abstractmethod
    def forward(self, backbone: Backbone, batch: ViewBatch) -> ObjectiveOutput:
        """Return the loss, a mean over the batch, and metrics as (sum, count).

        In training mode the state of the objective (momentum copy, queue, memory bank) moves on by one update.
        """


def all_orders(views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return every view of `(batch, dim)` beside every other one of the same clips.

    Returns:
        Two tensors `(views * (views - 1) * batch, dim)`: the views one after the other, as often as there are others,
        and their partners. Of two views a and b: `[a, b]` and `[b, a]`.
    """
    count = len(views)
    partners = [views[(place + turn) % count] for turn in range(1, count) for place in range(count)]
    return torch.cat([*views] * (count - 1)), torch.cat(partners)
