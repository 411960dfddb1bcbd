"""Spectra of waveforms and back, as s3prl's downstream tasks of separation make them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 512
"""Samples of the Hann window of a spectrum, and of its Fourier transform."""
BINS = WINDOW // 2 + 1
_CLICK_AFTER = 4 * WINDOW
"""Most samples of silence after a click."""


def spectrum(waveform: Tensor, hop: int) -> Tensor:
    """Return `(frames, BINS)`, complex, of `(samples,)`; the first frame is centred at the first sample.

    Args:
        waveform: more than half a window.
        hop: samples from one frame to the next.
    """
    window = torch.hann_window(WINDOW)
    return torch.stft(waveform, WINDOW, hop_length=hop, window=window, return_complex=True).T


def signals(spectra: Tensor, hop: int, samples: int) -> Tensor:
    """Return waveforms `(sources, samples)` of spectra `(sources, frames, BINS)`.

    What no window reaches at the end is zero, and so is a click there.
    """
    reached = min(samples, hop * (spectra.shape[1] - 1) + WINDOW // 2)
    window = torch.hann_window(WINDOW)
    waveforms = torch.istft(spectra.mT, WINDOW, hop_length=hop, window=window, length=reached)
    padded = functional.pad(waveforms, (0, samples - reached))
    return torch.stack([without_click(waveform) for waveform in padded])


def without_click(waveform: Tensor) -> Tensor:
    """Return a waveform that is zero from where its last window's worth of sound is louder than all before it.

    There the inverse transform divides by the edge of a single window, next to nothing. It is s3prl's `postprocess`.
    """
    sound = waveform.nonzero()
    end = int(sound[-1]) + 1 if len(sound) else 0
    start = end - WINDOW
    if start <= 0 or end < len(waveform) - _CLICK_AFTER:
        return waveform
    louder = (waveform[start:end].abs() > waveform[:start].abs().max()).nonzero()
    if len(louder) == 0:
        return waveform
    return functional.pad(waveform[: start + int(louder[0])], (0, len(waveform) - start - int(louder[0])))


def matched(features: Tensor, frames: int, repeats: int) -> Tensor:
    """Return features `(batch, frames, ...)` repeated, then cut or padded with zeros to so many frames.

    Args:
        features: `(batch, length, ...)`, zero after the end of each utterance.
        frames: of the longest spectrum.
        repeats: frames that each one becomes.
    """
    repeated = features.repeat_interleave(repeats, dim=1)[:, :frames]
    missing = repeated.new_zeros(len(repeated), frames - repeated.shape[1], *repeated.shape[2:])
    return torch.cat([repeated, missing], dim=1)
