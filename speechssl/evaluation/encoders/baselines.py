"""What trained encoders are compared with."""

from __future__ import annotations

import torch
from torch import Tensor

from speechssl.audio import SAMPLE_RATE
from speechssl.audio.fbank import HOP, fbank_frames, log_mel_fbank
from speechssl.errors import UserError
from speechssl.models.encoder import Encoder, EncoderOutput

FBANK_RATE = SAMPLE_RATE / HOP
"""Frames of 80 bands a second, before any are stacked."""


def can_stack(frame_rate: float) -> bool:
    """Return whether filterbanks can have so many frames a second."""
    return round(FBANK_RATE / frame_rate) * frame_rate == FBANK_RATE


class FilterbankEncoder(Encoder):
    """Log-mel filterbanks as an encoder without layers.

    Neighbouring 10 ms frames are stacked to the frame rate of the encoders they are compared with, so that nothing is
    lost and a probe sees the same frames: 160 numbers at 50 Hz, 320 at 25 Hz. (Averaging them would make a weaker
    baseline.)

    Args:
        frame_rate: frames a second; 100 must be a multiple of it.
        num_mels: bands of one 10 ms frame (80 as SUPERB's FBANK).
    """

    def __init__(self, frame_rate: float = 50.0, num_mels: int = 80) -> None:
        super().__init__()
        if not can_stack(frame_rate):
            raise UserError(
                f"filterbanks of 100 frames a second cannot be stacked to {frame_rate:g}: take fbank out of baselines"
            )
        self.stack = round(FBANK_RATE / frame_rate)
        self.num_mels = num_mels
        self.frame_rate = frame_rate
        self.num_layers = 0
        self.dim = num_mels * self.stack

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Return the whole stacks of each utterance: none where its windows are fewer than a stack."""
        return fbank_frames(lengths) // self.stack

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None) -> EncoderOutput:
        """Return the stacked filterbanks as the only hidden state `(batch, frames, num_mels * stack)`."""
        if lengths is None:
            lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        if mask is not None:
            raise ValueError("filterbanks have no mask embedding")
        fbank = log_mel_fbank(waveforms, self.num_mels)
        frames = fbank.shape[1] // self.stack
        stacked = fbank[:, : frames * self.stack].reshape(len(fbank), frames, self.dim)
        return EncoderOutput([stacked], self.frame_lengths(lengths), stacked)
