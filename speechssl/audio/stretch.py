"""A stretch of a recording, decoded alone where that gives the samples that decoding all of it gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from speechssl.audio.decode import NOT_FINITE, SAMPLE_RATE, AudioError, failure_reason, open_audio, read_audio

_SEEKING = ("WAV", "WAVEX", "FLAC")
"""Formats in which the place of a sample is exact, if the samples are not compressed with loss."""
_EXACT = ("PCM_", "FLOAT", "DOUBLE")


def read_stretch(path: Path, first: int, samples: int) -> tuple[Tensor, int]:
    """Return `(samples,)` at 16 kHz from a first sample on, fewer where the file ends, and the samples of the whole.

    They are equal to a cut of `read_audio`.

    Raises:
        AudioError: the file cannot be decoded, or holds values that are not finite in what is decoded of it.
    """
    try:
        with open_audio(path) as file:
            whole = first == 0 and samples >= file.frames
            if whole or not _is_exact(file):
                waveform = read_audio(path)
                return waveform[first : first + samples], len(waveform)
            file.seek(min(first, file.frames))
            frames, length = file.read(samples, dtype="float32", always_2d=True), int(file.frames)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(failure_reason(path, error)) from error
    if not np.isfinite(frames).all():
        raise AudioError(NOT_FINITE)
    stretch = torch.from_numpy(frames)
    return stretch.mean(dim=1) if stretch.shape[1] > 1 else stretch[:, 0].contiguous(), length


def _is_exact(file: soundfile.SoundFile) -> bool:
    """Return whether a stretch of a file can be read as it is in the whole."""
    exact = file.format in _SEEKING and file.subtype.startswith(_EXACT)
    return exact and file.samplerate == SAMPLE_RATE and file.seekable()
