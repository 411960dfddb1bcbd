"""Recordings that are scored although something about them is unusual: they are told, not left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from speechssl.audio import SAMPLE_RATE
from speechssl.audio.header import AudioHeader
from speechssl.audio.inspection import is_silent
from speechssl.errors import few

SHARED = "shared"

KINDS = {
    "channels": "have several channels, their mean is heard",
    "rate": "have another rate than 16 kHz and are resampled",
    "silent": "are silent",
    SHARED: "have sound that what heads learn from or are chosen on has, too: their scores tell little of new sound",
}
"""What is told, in words that follow a number of utterances."""

REMARKS = "remarks.json"
"""File of all of them, beside a task's results."""

Remarks = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Kind -> part -> id -> file of each such utterance; kinds and parts without any are left out."""


def remarks_on(audio: Path, header: AudioHeader, first: int, samples: int) -> tuple[str, ...]:
    """Return what is unusual about a stretch of a file: some of :data:`KINDS`.

    Args:
        audio: the file.
        header: of it.
        first: first sample of the stretch, at 16 kHz.
        samples: of it.

    Raises:
        AudioError: the file cannot be decoded.
    """
    found = {
        "channels": header.channels > 1,
        "rate": header.rate != SAMPLE_RATE,
        "silent": is_silent(audio, first / SAMPLE_RATE, (first + samples) / SAMPLE_RATE),
    }
    return tuple(kind for kind, there in found.items() if there)


def counts_of(remarks: Remarks) -> dict[str, dict[str, int]]:
    """Return how many utterances there are of each kind and part."""
    return {kind: {part: len(files) for part, files in parts.items()} for kind, parts in remarks.items()}


def remark_lines(counts: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Yield a line for each kind and part that says how many utterances there are."""
    for kind, parts in counts.items():
        for part, count in parts.items():
            yield f"{part}: {count} utterances {KINDS[kind]}"


def remark_warnings(remarks: Remarks) -> Iterator[str]:
    """Yield the same with the names of the first few files."""
    files = [list(dict.fromkeys(of_part.values())) for parts in remarks.values() for of_part in parts.values()]
    for line, names in zip(remark_lines(counts_of(remarks)), files, strict=True):
        yield f"{line}: {few(names)}"
