"""Clips of one length, from waveforms of any."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def fit_clip(waveform: Tensor, samples: int) -> Tensor:
    """Return exactly `(samples,)`: a shorter waveform in the middle of zeros, the middle of a longer one.

    Where the two sides of padding, or of what is cut away, differ, the larger is behind.
    """
    missing = samples - len(waveform)
    if missing >= 0:
        return functional.pad(waveform, (missing // 2, missing - missing // 2))
    start = -missing // 2
    return waveform[start : start + samples]
