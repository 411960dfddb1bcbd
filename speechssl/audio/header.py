"""What an audio file says of itself, and whether all of it is there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import soundfile

from speechssl.audio.decode import AudioError, failure_reason, frames_of, open_audio, resampled_length

_SIZE = re.compile(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""What libsndfile logs where a wav, aiff or au file has not as many bytes of sound as its header says."""

_UNKNOWN_SIZE = 0x7FFF0000
"""Programs that write to a pipe put a size from here on into the header: they do not know it yet."""

_MP3_SLACK = 2 * 1152
"""Frames that a decoder may drop at the edges of a whole mp3 file: those of two of its packets."""

_OGG_PAGE = 65_307
"""Bytes of the largest page of an ogg file."""


@dataclass(frozen=True)
class AudioHeader:
    """An audio file as it is."""

    samples: int
    """That `read_audio` gives, at 16 kHz."""
    rate: int
    """Samples a second in the file."""
    channels: int


def read_header(path: str | Path) -> AudioHeader:
    """Return what an audio file says of itself. It is decoded only where its header does not tell its length.

    Raises:
        AudioError: the file cannot be read, or its end is missing (told of wav, aiff, au, ogg, and of mp3 that says
            how long it is).
    """
    try:
        with open_audio(path) as file:
            frames = frames_of(file)
            missing = missing_end(path, file, frames)
            header = AudioHeader(resampled_length(frames, file.samplerate), file.samplerate, file.channels)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(failure_reason(path, error)) from error
    if missing:
        raise AudioError(f"cut off: {missing}")
    return header


def missing_end(path: str | Path, file: soundfile.SoundFile, frames: int) -> str:
    """Return what is missing at the end of a file; nothing where all is there, or cannot be told.

    Args:
        path: the file.
        file: the same, open.
        frames: that decoding it gives.
    """
    size = _SIZE.search(file.extra_info)
    if size and int(size[2]) < int(size[1]) < _UNKNOWN_SIZE:
        return f"{size[2]} of {size[1]} bytes of sound are there"
    if file.format == "MP3" and frames + _MP3_SLACK < file.frames and _tells_length(path):
        return f"{frames} of {file.frames} samples are there"
    if file.format == "OGG" and not _ends(path):
        return "its last page is missing"
    return ""


def _tells_length(path: str | Path) -> bool:
    """Return whether an mp3 file begins with LAME's packet that says how many follow; others are guessed at."""
    with open(path, "rb") as file:
        tag = file.read(10)
        # The size of an ID3 tag has seven bits in a byte.
        file.seek(10 + sum(byte << 7 * place for place, byte in enumerate(tag[:5:-1])) if tag[:3] == b"ID3" else 0)
        packet = file.read(64)
    return b"Xing" in packet or b"Info" in packet


def _ends(path: str | Path) -> bool:
    """Return whether the last page of an ogg file is marked as the last one."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _OGG_PAGE))
        tail = file.read()
    place = tail.rfind(b"OggS")
    return len(tail) > place + 5 > 4 and bool(tail[place + 5] & 4)
