"""All that s3prl 0.4.18 needs to import and run beside torchaudio 2.9."""

from __future__ import annotations

import sys
import types

import torch
import torchaudio
from torch import Tensor


def patch_torchaudio() -> None:
    """Give torchaudio what it no longer has and s3prl calls: `set_audio_backend` and `sox_effects`.

    Call it before s3prl is imported. Audio is read with soundfile, so there is no backend to set. What torchaudio
    still has stays as it is.
    """
    if not hasattr(torchaudio, "set_audio_backend"):
        torchaudio.set_audio_backend = lambda backend: None
    if not hasattr(torchaudio, "sox_effects"):
        module = types.ModuleType("torchaudio.sox_effects")
        module.apply_effects_tensor = apply_effects_tensor  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        torchaudio.sox_effects = module


def apply_effects_tensor(
    tensor: Tensor, sample_rate: int, effects: list[list[str]], channels_first: bool = True
) -> tuple[Tensor, int]:
    """Apply the sox effects that s3prl uses: `channels 1`, `rate HZ`, `gain DECIBELS`.

    Args:
        tensor: `(channels, samples)`, or `(samples, channels)` with `channels_first=False`.
        sample_rate: of `tensor`.
        effects: names and arguments, applied in turn.
        channels_first: the layout of input and output.

    Returns:
        The waveform and its sample rate. As in sox, what leaves [-1, 1] is clipped.
    """
    x = tensor if channels_first else tensor.T
    for name, *arguments in effects:
        if name == "channels" and arguments == ["1"]:
            x = x.mean(dim=0, keepdim=True)
        elif name == "rate" and len(arguments) == 1:
            x = torchaudio.functional.resample(x, sample_rate, int(arguments[0]))
            sample_rate = int(arguments[0])
        elif name == "gain" and len(arguments) == 1:
            x = torch.clamp(x * 10 ** (float(arguments[0]) / 20), -1.0, 1.0)
        else:
            raise ValueError(f"the sox effect {[name, *arguments]} is not known here: channels 1, rate HZ, gain DB are")
    return (x if channels_first else x.T), sample_rate
