"""Phone times of utterances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from speechssl.data.tables import read_table, write_table
from speechssl.errors import UserError

COLUMNS = ("path", "start", "end", "phone")


class Segment(NamedTuple):
    """One phone, in seconds from the start of the utterance."""

    start: float
    end: float
    phone: str


def read_alignments(path: str | Path) -> dict[str, list[Segment]]:
    """Read `alignments.tsv`: for each of the manifests' paths its phones in order of time.

    Raises:
        UserError: no such file, a missing column, or times that are not numbers or run backwards.
    """
    segments: dict[str, list[Segment]] = {}
    for number, row in enumerate(read_table(path, COLUMNS), start=2):
        try:
            segment = Segment(float(row["start"]), float(row["end"]), row["phone"])
        except ValueError as error:
            raise UserError(f"{path} line {number}: start and end must be seconds") from error
        if not 0 <= segment.start <= segment.end < math.inf:
            raise UserError(f"{path} line {number}: the phone must start at 0 or later and end after its start")
        segments.setdefault(row["path"], []).append(segment)
    for phones in segments.values():
        phones.sort()
    return segments


def write_alignments(path: str | Path, alignments: Mapping[str, Sequence[Segment]]) -> None:
    """Write `alignments.tsv`, whole or not at all."""
    rows = (
        (name, f"{segment.start:.6f}", f"{segment.end:.6f}", segment.phone)
        for name, segments in alignments.items()
        for segment in segments
    )
    write_table(path, COLUMNS, rows)


def frame_phones(segments: Sequence[Segment], frames: int, frame_rate: float) -> npt.NDArray[np.object_]:
    """Return the phone at the centre of each frame.

    Args:
        segments: phones in order of time.
        frames: number of frames.
        frame_rate: frames a second; frame `i` is centred at `(i + 0.5) / frame_rate` seconds.

    Returns:
        `(frames,)` phones; None where no phone is given.
    """
    phones = np.full(frames, None, dtype=object)
    centres = (np.arange(frames) + 0.5) / frame_rate
    for start, end, phone in segments:
        first, last = np.searchsorted(centres, [start, end])
        phones[first:last] = phone
    return phones
