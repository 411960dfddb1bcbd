"""Augmentation of one waveform at a time, for the threads that read audio.

All randomness comes from the generator handed in, so a clip's augmentation can belong to the clip and the epoch.
Waveforms are `(samples,)` float32 at 16 kHz on the CPU. Results may leave [-1, 1]; nothing is clipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from speechssl.errors import UserError
from speechssl.limits import named, require
from speechssl.settings import changed_fields

_WINDOW = 512
"""Samples of the phase vocoder's window: 32 ms."""

_HOP = 128

_PITCH_STEPS = 200
"""Pitch factors are multiples of 1/200 (at most 9 cents apart): resampling by a short fraction is fast."""


@dataclass
class NoiseSettings:
    """Additive noise; the defaults are this project's choice."""

    probability: float = 0.0
    """Share of the clips that get noise; 0 turns it off."""
    snr_low_db: float = 5.0
    """Lowest signal-to-noise ratio; each clip's is drawn between this and the highest."""
    snr_high_db: float = 20.0
    """Highest signal-to-noise ratio."""
    steepest: float = 2.0
    """Power falls with frequency as f to the minus s; each clip's s is drawn from 0 (white) to this (2: brown)."""

    def __post_init__(self) -> None:
        _check_range("noise", self.probability, self.snr_low_db, self.snr_high_db, "snr_low_db", "snr_high_db")
        require({"data.waveform.noise.steepest": self.steepest}, least=0)
        require(named(self, "snr_low_db", "snr_high_db", prefix="data.waveform.noise."), least=-200, most=200)
        _check_read("noise", self)


@dataclass
class PitchShiftSettings:
    """Pitch shift at constant length; the defaults are this project's choice."""

    probability: float = 0.0
    """Share of the clips that are shifted; 0 turns it off."""
    low: float = -2.0
    """Lowest shift in semitones; each clip's is drawn between this and the highest."""
    high: float = 2.0
    """Highest shift in semitones."""

    def __post_init__(self) -> None:
        _check_range("pitch_shift", self.probability, self.low, self.high, "low", "high")
        # Two octaves.
        require(named(self, "low", "high", prefix="data.waveform.pitch_shift."), least=-24, most=24)
        _check_read("pitch_shift", self)


@dataclass
class TimeStretchSettings:
    """Change of speed at constant pitch; the defaults are this project's choice."""

    probability: float = 0.0
    """Share of the clips that are stretched; 0 turns it off."""
    slowest: float = 0.8
    """Lowest speed, 1 is the speed as recorded; each clip's is drawn between this and the highest."""
    fastest: float = 1.25
    """Highest speed."""

    def __post_init__(self) -> None:
        _check_range("time_stretch", self.probability, self.slowest, self.fastest, "slowest", "fastest")
        require(named(self, "slowest", "fastest", prefix="data.waveform.time_stretch."), above=0)
        _check_read("time_stretch", self)


@dataclass
class WaveformAugmentSettings:
    """What is done to waveforms, in this order."""

    time_stretch: TimeStretchSettings = field(default_factory=TimeStretchSettings)
    """Change of speed."""
    pitch_shift: PitchShiftSettings = field(default_factory=PitchShiftSettings)
    """Change of pitch."""
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    """Additive noise."""


def augment_waveform(waveform: Tensor, settings: WaveformAugmentSettings, generator: np.random.Generator) -> Tensor:
    """Return the waveform stretched, shifted and with noise, each as its probability says.

    Args:
        waveform: `(samples,)`, one sample or more. A change of speed changes the length: for a clip of n samples, hand
            in `ceil(n * fastest)` samples and cut afterwards.
        settings: what is on, and how strong.
        generator: draws what is done and how strongly.

    Returns:
        `(about samples / speed,)`, or `(samples,)` where the speed is as recorded.
    """
    stretch, pitch, noise = settings.time_stretch, settings.pitch_shift, settings.noise
    if generator.random() < stretch.probability:
        waveform = stretch_time(waveform, generator.uniform(stretch.slowest, stretch.fastest))
    if generator.random() < pitch.probability:
        waveform = shift_pitch(waveform, generator.uniform(pitch.low, pitch.high))
    if generator.random() < noise.probability:
        snr_db = generator.uniform(noise.snr_low_db, noise.snr_high_db)
        slope = generator.uniform(0.0, noise.steepest)
        waveform = add_noise(waveform, coloured_noise(len(waveform), slope, generator), snr_db)
    return waveform


def add_noise(waveform: Tensor, noise: Tensor, snr_db: float) -> Tensor:
    """Add `noise`, as long as `waveform`, at a signal-to-noise ratio over the whole waveform; silence stays silence."""
    from torchaudio.functional import add_noise as add_noise_at

    return add_noise_at(waveform, noise, torch.tensor(snr_db))


def coloured_noise(samples: int, slope: float, generator: np.random.Generator) -> Tensor:
    """Return Gaussian noise `(samples,)` whose power falls as f to the minus `slope`: 0 white, 1 pink, 2 brown."""
    white = torch.from_numpy(generator.standard_normal(samples, dtype=np.float32))
    spectrum = torch.fft.rfft(white)
    # The constant part has no finite power on such a slope: it is given that of the lowest frequency.
    frequencies = torch.arange(len(spectrum)).clamp(min=1)
    return torch.fft.irfft(spectrum * frequencies.pow(-slope / 2), n=samples)


def stretch_time(waveform: Tensor, speed: float) -> Tensor:
    """Change the speed and keep the pitch: `(samples,)` to `(round(samples / speed),)`, by torchaudio's phase vocoder.

    A phase vocoder loses level where neighbouring frequencies fall out of phase; the mean power is set back to what it
    was.

    Args:
        waveform: `(samples,)`; one shorter than a window of 32 ms is padded with zeros first.
        speed: 2 halves the length, 0.5 doubles it.
    """
    from torchaudio.functional import phase_vocoder

    samples = max(round(len(waveform) / speed), 1)
    padded = functional.pad(waveform, (0, max(_WINDOW - len(waveform), 0)))
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(padded, _WINDOW, _HOP, window=window, pad_mode="constant", return_complex=True)
    advance = torch.linspace(0, math.pi * _HOP, _WINDOW // 2 + 1)[:, None]
    stretched = phase_vocoder(spectrum, speed, advance)
    stretched = torch.istft(stretched, _WINDOW, _HOP, window=window, length=samples)
    power, power_left = waveform.square().mean(), stretched.square().mean()
    return stretched * torch.where(power_left > 0, power / power_left, 1.0).sqrt()


def shift_pitch(waveform: Tensor, semitones: float) -> Tensor:
    """Change the pitch and keep the length: stretched by a phase vocoder, then resampled to the length it had.

    Args:
        waveform: `(samples,)`.
        semitones: 12 doubles all frequencies. The factor is rounded to a multiple of 1/200.
    """
    from torchaudio.functional import resample

    steps = round(_PITCH_STEPS * 2 ** (semitones / 12))
    stretched = stretch_time(waveform, _PITCH_STEPS / steps)
    shifted = resample(stretched, steps, _PITCH_STEPS)[: len(waveform)]
    return functional.pad(shifted, (0, len(waveform) - len(shifted)))


def _check_range(group: str, probability: float, low: float, high: float, low_name: str, high_name: str) -> None:
    require({f"data.waveform.{group}.probability": probability}, least=0, most=1)
    if low > high:
        raise UserError(f"data.waveform.{group}: {low_name}={low} is above {high_name}={high}")


def _check_read(group: str, settings: NoiseSettings | PitchShiftSettings | TimeStretchSettings) -> None:
    """Refuse settings of what is off."""
    unread = changed_fields(settings)
    if settings.probability == 0 and unread:
        raise UserError(
            f"data.waveform.{group}: {unread[0]}={getattr(settings, unread[0])} is given, but probability=0 turns "
            f"it off: give data.waveform.{group}.probability too, or leave it out"
        )
