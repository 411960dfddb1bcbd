"""What every encoder of clips offers between its log-mel front end and its pooled output."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class BackboneOutput(NamedTuple):
    """What a backbone makes of a batch of log-mel spectrograms."""

    frames: Tensor
    """`(batch, frames, dim)`: the deepest features, before pooling over time."""
    taps: list[Tensor]
    """Features of the inner blocks, shallow first, each a mean over time: `(batch, width)`."""
    pooled: Tensor
    """`(batch, dim)`: one vector a clip."""


class Backbone(nn.Module):
    """A network from log-mel spectrograms to one vector a clip. Knows nothing of waveforms."""

    dim: int
    """Width of the pooled output."""
    tap_dims: list[int]
    """Width of each tap."""
    stride: int
    """Log-mel frames that become one frame of the output. A shorter spectrogram has no output."""

    def forward(self, log_mel: Tensor) -> BackboneOutput:
        """Encode `(batch, mels, frames)`, normalised; all clips of a batch are equally long."""
        raise NotImplementedError

    def frame_counts(self, log_mel_frames: Tensor) -> Tensor:
        """Return how many frames come out for `log_mel_frames` `(batch,)`, each `stride` or more."""
        return log_mel_frames // self.stride

    def pool(self, frames: Tensor) -> Tensor:
        """Return `pooled` `(batch, dim)` of `frames` `(batch, frames, dim)`: the mean over time."""
        return frames.mean(dim=1)
