"""Kaldi's log-mel filterbank in plain torch, for batches.

Equals `torchaudio.compliance.kaldi.fbank` without dither. It is here a second time because the encoder's base
install has no torchaudio, and because Kaldi's version takes one waveform at a time.
"""

from __future__ import annotations

import functools
from typing import TypeVar

import torch
from torch import Tensor

WINDOW = 400
"""Samples of a frame: 25 ms at 16 kHz."""

HOP = 160
"""Samples between frames: 10 ms at 16 kHz."""

_FFT = 512
_SAMPLE_RATE = 16000
_PRE_EMPHASIS = 0.97
_FLOOR = torch.finfo(torch.float32).eps

Count = TypeVar("Count", int, Tensor)


def fbank_frames(samples: Count) -> Count:
    """Return the number of frames of a waveform of `samples` samples: whole windows only (Kaldi's snip edges)."""
    frames = (samples - WINDOW) // HOP + 1
    return frames.clamp(min=0) if isinstance(frames, Tensor) else max(frames, 0)


def log_mel_fbank(waveforms: Tensor, num_mels: int = 80, low_hz: float = 20.0, high_hz: float | None = None) -> Tensor:
    """Return Kaldi's log-mel filterbank energies.

    25 ms windows every 10 ms, mean removed, pre-emphasis 0.97, Povey window, power spectrum of 512 points, natural
    logarithm. Computed in float32 even under autocast.

    Args:
        waveforms: `(batch, samples)` at 16 kHz. Only whole windows give a frame, so a frame within an utterance does
            not depend on the padding behind it.
        num_mels: number of mel bands.
        low_hz: lower edge of the first band.
        high_hz: upper edge of the last band; half the sample rate by default.

    Returns:
        `(batch, frames, num_mels)` float32 with `frames = fbank_frames(samples)`.
    """
    if waveforms.shape[-1] < WINDOW:
        return waveforms.new_zeros(len(waveforms), 0, num_mels, dtype=torch.float32)
    high_hz = _SAMPLE_RATE / 2 if high_hz is None else high_hz
    with torch.autocast(waveforms.device.type, enabled=False):
        frames = waveforms.float().unfold(-1, WINDOW, HOP)
        frames = frames - frames.mean(dim=-1, keepdim=True)
        # Kaldi repeats a frame's first sample as the one before it.
        previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        frames = torch.sub(frames, previous, alpha=_PRE_EMPHASIS) * _povey_window(waveforms.device)
        spectrum = torch.fft.rfft(frames, n=_FFT)
        power = spectrum.real.square() + spectrum.imag.square()
        energies = power @ _mel_matrix(num_mels, low_hz, high_hz, waveforms.device)
        return energies.clamp(min=_FLOOR).log()


def empty_bands(num_mels: int, low_hz: float, high_hz: float) -> int:
    """Return how many mel bands are so narrow that no line of the spectrum lies in them."""
    return int((_mel_matrix(num_mels, low_hz, high_hz, torch.device("cpu")).amax(dim=0) == 0).sum())


@functools.lru_cache(maxsize=8)
def _povey_window(device: torch.device) -> Tensor:
    """Return the Hann window to the power 0.85."""
    return torch.hann_window(WINDOW, periodic=False, dtype=torch.float64).pow(0.85).float().to(device)


@functools.lru_cache(maxsize=8)
def _mel_matrix(num_mels: int, low_hz: float, high_hz: float, device: torch.device) -> Tensor:
    """Return triangular mel bands `(bins, num_mels)`; the triangles are linear on Kaldi's mel scale."""
    mels = _mel(torch.arange(_FFT // 2 + 1, dtype=torch.float64) * _SAMPLE_RATE / _FFT)
    low, high = _mel(torch.tensor([low_hz, high_hz], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, num_mels + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (mels[:, None] - left) / (centre - left)
    falling = (right - mels[:, None]) / (right - centre)
    bands = torch.minimum(rising, falling).clamp(min=0)
    bands[-1] = 0.0  # Kaldi leaves out the bin at half the sample rate.
    return bands.float().to(device)


def _mel(hertz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(hertz / 700.0)
