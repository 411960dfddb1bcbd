"""Waveforms of the recordings that a manifest lists."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from speechssl.audio import AudioError, read_audio
from speechssl.audio.stretch import read_stretch
from speechssl.errors import UserError


def read_listed(path: Path, samples: int, manifest: str | Path, read: Callable[[Path], Tensor] = read_audio) -> Tensor:
    """Return the waveform `(samples,)` of a recording that a manifest lists.

    Args:
        path: the audio file.
        samples: its length at 16 kHz, as the manifest says.
        manifest: its file, or what the message is to call it.
        read: decodes a file.

    Raises:
        UserError: the audio cannot be read, holds values that are not finite, or is not as long as the manifest says.
            Nothing is skipped: labels are lines in the manifest's order.
    """
    advice = "restore it, or make that list (`speechssl manifest`) and its labels again"
    try:
        waveform = read(path)
    except AudioError as error:
        raise UserError(f"{path}, listed in {manifest}, cannot be read ({error}): {advice}") from error
    if len(waveform) != samples:
        raise UserError(f"{path} has {len(waveform)} samples at 16 kHz, but {samples} in {manifest}: {advice}")
    return waveform


def read_listed_stretch(path: Path, samples: int, manifest: str | Path, first: int, count: int) -> Tensor:
    """Return `(count,)` of a recording that a manifest lists, from a first sample on: a cut of :func:`read_listed`.

    Raises:
        UserError: see :func:`read_listed`; of what is not decoded, the length alone is looked at.
    """
    with contextlib.suppress(AudioError):
        stretch, length = read_stretch(path, first, count)
        if length == samples and len(stretch) == count:
            return stretch
    # Decoding all of it says what is wrong.
    return read_listed(path, samples, manifest)[first : first + count]
