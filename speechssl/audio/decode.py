"""Audio files as mono waveforms at one sample rate."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

SAMPLE_RATE = 16000
"""Samples a second of every waveform inside this project."""

_RAW_FORMATS: dict[str, dict[str, Any]] = {
    ".gsm": {"format": "RAW", "subtype": "GSM610", "samplerate": 8000, "channels": 1},
}
"""What soundfile must be told of files without a header."""

_COUNT_BY_DECODING = {"MP3", "RAW"}
"""Formats whose header gives no length, or one that need not be what decoding returns."""

_UNKNOWN_LENGTH = 1 << 48
"""libsndfile gives a huge frame count for streams that do not say how long they are."""


_SECONDS_AT_ONCE = 4
"""Seconds that are resampled at once: from 8 kHz, torchaudio takes fifteen times the memory of what it resamples."""

_MOST_PHASES = 1000
"""Samples of the result before the filter's phases come again, for torchaudio (640 from 11025 Hz): its filter has a row
for each, as long as what they span, which takes gigabytes from 11127 Hz."""

_SECONDS_AROUND = 0.1
"""Seconds on either side of those; the resampling filter reaches seven samples of the lower rate."""


NOT_FINITE = "not finite: holds NaN or infinity"


class AudioError(Exception):
    """An audio file cannot be read. The message is the reason, without the file's name."""


def read_audio(path: str | Path, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Decode an audio file to a mono waveform.

    Args:
        path: any file that soundfile reads (wav, flac, ogg, opus, mp3, ...), or raw GSM 6.10 at 8 kHz (`.gsm`).
        sample_rate: samples a second of the result.

    Returns:
        `(samples,)` float32, full scale is 1 (files of floats may go beyond): the mean of the channels, resampled to
        exactly `ceil(sample_rate * frames / rate)` samples.

    Raises:
        AudioError: the file cannot be decoded, or holds values that are not finite.
    """
    try:
        with open_audio(path) as file:
            frames, rate = _read_all(file), file.samplerate
    except (soundfile.SoundFileError, OSError, MemoryError) as error:
        raise AudioError(failure_reason(path, error)) from error
    # One such value spoils the statistics of batch norm, clusters and heads for good.
    if not np.isfinite(np.sum(frames, dtype=np.float64)):
        raise AudioError(NOT_FINITE)
    waveform = torch.from_numpy(frames).mean(dim=1) if frames.shape[1] > 1 else torch.from_numpy(frames[:, 0])
    if rate == sample_rate or len(waveform) == 0:
        return waveform.contiguous()
    return _resampled(waveform, rate, sample_rate)


def audio_length(path: str | Path, sample_rate: int = SAMPLE_RATE) -> int:
    """Return the number of samples that `read_audio` gives, from the header alone where it can be trusted.

    Raises:
        AudioError: the file cannot be read.
    """
    try:
        with open_audio(path) as file:
            return resampled_length(frames_of(file), file.samplerate, sample_rate)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(failure_reason(path, error)) from error


def frames_of(file: soundfile.SoundFile) -> int:
    """Return how many frames decoding gives, from the header alone where it can be trusted."""
    if file.format in _COUNT_BY_DECODING or file.frames > _UNKNOWN_LENGTH:
        return _count(file)
    return int(file.frames)


def resampled_length(frames: int, rate: int, sample_rate: int = SAMPLE_RATE) -> int:
    """Return `ceil(sample_rate * frames / rate)` in whole numbers."""
    return -(-frames * sample_rate // rate)


def open_audio(path: str | Path) -> soundfile.SoundFile:
    """Open an audio file for reading; raw GSM is told by its ending."""
    file = soundfile.SoundFile(path, **_RAW_FORMATS.get(Path(path).suffix.lower(), {}))
    if file.frames > _UNKNOWN_LENGTH:
        # FLAC from a pipe: soundfile seeks after every read where it can, and libsndfile says wrongly that it can.
        file.seekable = lambda: False
    return file


def failure_reason(path: str | Path, error: BaseException) -> str:
    """Return why soundfile failed, without the path that its messages repeat."""
    if not Path(path).is_file():
        return "no such file"
    if Path(path).stat().st_size == 0:
        return "the file has no bytes"
    detail = str(getattr(error, "error_string", None) or error) or type(error).__name__
    return " ".join(f"cannot be decoded: {detail}".split())


def _read_all(file: soundfile.SoundFile) -> Any:
    """Return `(frames, channels)` float32; soundfile gives "all" only of files it can seek in, not of raw GSM."""
    if file.seekable():
        return file.read(dtype="float32", always_2d=True)
    blocks = [file.read(1 << 20, dtype="float32", always_2d=True)]
    while len(blocks[-1]):
        blocks.append(file.read(1 << 20, dtype="float32", always_2d=True))
    return np.concatenate(blocks)


def _count(file: soundfile.SoundFile) -> int:
    """Return how many frames decoding gives."""
    count = 0
    while block := len(file.read(1 << 20, dtype="float32")):
        count += block
    return count


def _resampled(waveform: Tensor, rate: int, sample_rate: int) -> Tensor:
    """Resample piece by piece, each with its surroundings: the pieces put together are the whole, resampled."""
    common = math.gcd(rate, sample_rate)
    if sample_rate // common > _MOST_PHASES:
        return _resampled_from_an_odd_rate(waveform, rate // common, sample_rate // common)
    resampler = _resampler(rate, sample_rate)
    result = waveform.new_empty(resampled_length(len(waveform), rate, sample_rate))
    # Pieces start at multiples of the unit, so that the filter's phases are those of the whole.
    unit, resampled_unit = rate // common, sample_rate // common
    around, units = math.ceil(_SECONDS_AROUND * common), _SECONDS_AT_ONCE * common
    for first in range(0, -(-len(waveform) // unit), units):
        before = min(first, around)
        piece = waveform[(first - before) * unit : (first + units + around) * unit]
        target = result[first * resampled_unit : (first + units) * resampled_unit]
        target.copy_(resampler(piece)[before * resampled_unit :][: len(target)])
    return result


def _resampled_from_an_odd_rate(waveform: Tensor, unit: int, resampled_unit: int) -> Tensor:
    """Resample where rates have hardly a common divisor (11127 Hz): scipy's filter has one row for all phases."""
    try:
        from scipy.signal import resample_poly
    except ImportError as error:
        raise AudioError("has a rate that torchaudio resamples badly, and scipy is not installed") from error
    return torch.from_numpy(resample_poly(waveform.numpy(), resampled_unit, unit).astype("float32", copy=False))


@functools.lru_cache(maxsize=32)
def _resampler(rate: int, sample_rate: int) -> Callable[[Tensor], Tensor]:
    """Return torchaudio's windowed-sinc resampler; its kernel is computed once a pair of rates."""
    try:
        from torchaudio.transforms import Resample
    except ImportError as error:
        raise AudioError(
            f"has {rate} Hz, not {sample_rate} Hz, and torchaudio, which resamples, is not installed"
        ) from error
    return Resample(rate, sample_rate)
