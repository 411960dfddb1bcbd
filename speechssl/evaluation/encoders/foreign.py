"""Encoders of other libraries behind our interface."""

from __future__ import annotations

import torch
from torch import Tensor

from speechssl.models.encoder import Encoder, EncoderOutput


class ForeignEncoder(Encoder):
    """An encoder of another library, which sees recordings of one length at a time.

    Other libraries pad with zeros, and what is in the padding may reach the frames of a recording (group norm over
    time, for one). Here no number depends on what else is in a batch.
    """

    def encode(self, waveforms: Tensor) -> list[Tensor]:
        """Return the hidden states `(batch, frames, dim)` of waveforms `(batch, samples)` without padding."""
        raise NotImplementedError

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None) -> EncoderOutput:
        """Encode a batch; the front end's output is not known, so the first hidden state stands for it."""
        if mask is not None:
            raise ValueError(f"a {type(self).__name__} has no mask embedding")
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        frames = self.frame_lengths(lengths)
        shape = (len(waveforms), int(frames.max()), self.dim)
        states = [waveforms.new_zeros(shape) for _ in range(self.num_layers + 1)]
        for samples in lengths[frames > 0].unique().tolist():
            rows = lengths == samples
            for state, found in zip(states, self.encode(waveforms[rows, :samples]), strict=True):
                state[rows, : found.shape[1]] = found
        return EncoderOutput(states, frames, states[0])
