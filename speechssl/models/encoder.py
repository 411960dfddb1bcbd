"""What every encoder offers, and what it returns."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class EncoderOutput(NamedTuple):
    """Hidden states of a batch of utterances."""

    hidden_states: list[Tensor]
    """`num_layers + 1` tensors `(batch, frames, dim)`; the first is the input of the first layer."""
    lengths: Tensor
    """`(batch,)` valid frames; what stands in the frames after them means nothing (but is finite)."""
    features: Tensor
    """`(batch, frames, channels)`: output of the front end, before its layer norm."""
    cls: list[Tensor] | None = None
    """The CLS frame after each layer, `num_layers + 1` tensors `(batch, dim)`, for encoders that have one."""


class Encoder(nn.Module):
    """The interface of every encoder: ours, and the baselines of the evaluation."""

    sample_rate: int = 16_000
    """Samples a second that the encoder expects."""
    frame_rate: float
    """Hidden states a second, e.g. 50.0 or 25.0."""
    num_layers: int
    """Number of hidden states, less one."""
    dim: int
    """Width of the hidden states."""

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Return the number of frames `(batch,)` of utterances of `lengths` `(batch,)` samples."""
        raise NotImplementedError

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None) -> EncoderOutput:
        """Encode a batch.

        Args:
            waveforms: `(batch, samples)`, float32 in [-1, 1], padded with anything.
            lengths: `(batch,)` valid samples; default: all of them.
            mask: `(batch, frames)`, true where the frame is replaced by the mask embedding.
        """
        raise NotImplementedError

    def pool(self, output: EncoderOutput) -> Tensor:
        """Return one vector an utterance `(batch, dim)`: the mean of the last hidden state over the valid frames.

        An utterance without frames has zeros.
        """
        frames = output.hidden_states[-1].float()
        valid = torch.arange(frames.size(1), device=frames.device) < output.lengths[:, None]
        return frames.masked_fill(~valid[..., None], 0.0).sum(dim=1) / output.lengths.clamp(min=1)[:, None]
