"""One pass over an audio file that finds what would spoil training."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from speechssl.audio.decode import NOT_FINITE, AudioError, failure_reason, open_audio, resampled_length
from speechssl.audio.header import missing_end

SILENCE_PEAK = 1e-3
"""A file whose samples span less than twice this (-60 dB of full scale) is silent."""


def inspect_audio(path: str | Path, min_seconds: float) -> int:
    """Decode a whole file, one block at a time, and return how many samples `read_audio` gives of it.

    Args:
        path: the audio file.
        min_seconds: the shortest that is of use.

    Raises:
        AudioError: the file cannot be decoded, is empty, its end is missing, not finite, shorter than
            `min_seconds` or silent.
    """
    frames, low, high = 0, math.inf, -math.inf
    try:
        with open_audio(path) as file:
            rate = file.samplerate
            while len(block := file.read(1 << 20, dtype="float32")):
                frames += len(block)
                low, high = _span(block, low, high)
                # A comparison with a NaN is false, so min and max above may drop one; the sum does not.
                if not math.isfinite(float(np.sum(block, dtype=np.float64))):
                    raise AudioError(NOT_FINITE)
            missing = missing_end(path, file, frames)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(failure_reason(path, error)) from error
    if frames == 0:
        raise AudioError("empty: no samples")
    if missing:
        raise AudioError(f"cut off: {missing}")
    if frames / rate < min_seconds:
        raise AudioError(f"too short: {frames / rate:.3f} s, at least {min_seconds:g} s are needed")
    if (high - low) / 2 < SILENCE_PEAK:
        raise AudioError(f"silent: the peak {(high - low) / 2:.6f} is below {SILENCE_PEAK:g} of full scale")
    return resampled_length(frames, rate)


def _span(block: npt.NDArray[np.float32], low: float, high: float) -> tuple[float, float]:
    """Widen a span by that of a block's mean over channels, which is what is read: opposite ones leave nothing."""
    mono = block.mean(axis=1) if block.ndim > 1 else block
    return min(low, float(np.min(mono))), max(high, float(np.max(mono)))


def is_silent(path: str | Path, start: float, end: float) -> bool:
    """Return whether a stretch of a file is silent. It is decoded until it is not, mostly for a second.

    Args:
        path: the audio file.
        start: of the stretch, in seconds.
        end: of it.

    Raises:
        AudioError: the file cannot be decoded.
    """
    low, high, place = math.inf, -math.inf, 0
    try:
        with open_audio(path) as file:
            first, last = round(start * file.samplerate), round(end * file.samplerate)
            if file.seekable() and file.format != "MP3":  # whose place is a guess
                place = file.seek(min(first, file.frames))
            while place < last and len(block := file.read(file.samplerate, dtype="float32")):
                stretch = block[max(first - place, 0) : last - place]
                if stretch.size:
                    low, high = _span(stretch, low, high)
                if (high - low) / 2 >= SILENCE_PEAK:
                    return False
                place += len(block)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(failure_reason(path, error)) from error
    return True
