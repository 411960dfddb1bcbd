"""What every training objective takes and returns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from speechssl.models.encoder import EncoderOutput

CountedBy = Literal["masked", "utterances", "frames"]


@dataclass
class Targets:
    """What the objectives predict, for one batch."""

    mask: Tensor
    """`(batch, frames)`, true where the encoder's input was masked; false in the padding."""
    labels: list[Tensor]
    """One `(batch, frames)` int64 tensor of frame labels for each label set."""
    topics: Tensor | None
    """`(batch, topics)` posteriors of the utterances, or `None`."""


class ObjectiveOutput(NamedTuple):
    """Sums over one batch; the trainer divides by the counts of the whole update."""

    loss: Tensor
    """Scalar: the loss summed over what the objective counts."""
    metrics: dict[str, tuple[Tensor, int]]
    """Name -> (sum, number of items) for the log."""


def valid_frames(output: EncoderOutput) -> Tensor:
    """Return `(batch, frames)`, false in the padding."""
    frames = output.hidden_states[-1].shape[1]
    return torch.arange(frames, device=output.lengths.device)[None, :] < output.lengths[:, None]


class Objective(nn.Module):
    """A loss with its own parameters.

    A loss is a sum. Masked prediction sums over frames and topic prediction over utterances, so each is divided by
    its own count, taken over the whole update and all processes, before it is weighted.
    """

    counted_by: CountedBy
    """What the loss is a sum over."""
    weight: float
    """Weight of the normalised loss in the total."""
    metrics: Sequence[str]
    """Names of the metrics that it returns."""

    @abstractmethod
    def forward(self, output: EncoderOutput, targets: Targets) -> ObjectiveOutput:
        """Return the summed loss and the metrics of one batch."""
