"""Long recordings in pieces whose frames, put together, are exactly the recording's frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Piece(NamedTuple):
    """A stretch of a recording and the part of its frames that counts."""

    start: int
    """First sample."""
    stop: int
    """One past the last sample."""
    skip: int
    """Frames at the front that are context only."""
    keep: int
    """Frames after those that count; what follows is context only."""


@dataclass(frozen=True)
class FrameLayout:
    """Where the frames of a front end lie: frame `i` sees samples `i * stride` to `i * stride + window`."""

    stride: int
    """Samples from one frame to the next."""
    window: int
    """Samples that a frame sees."""

    def frames(self, samples: int) -> int:
        """Return how many frames a recording has."""
        return max(0, (samples - self.window) // self.stride + 1)

    def pieces(self, samples: int, most_frames: int, context: int) -> Iterator[Piece]:
        """Cut a recording into pieces.

        Args:
            samples: length of the recording.
            most_frames: most frames that count in a piece.
            context: frames before and after that are computed too, so that the others know their surroundings.
        """
        frames = self.frames(samples)
        for first in range(0, frames, most_frames):
            last = min(first + most_frames, frames)
            begin, end = max(0, first - context), min(frames, last + context)
            stop = samples if end == frames else (end - 1) * self.stride + self.window
            yield Piece(begin * self.stride, stop, first - begin, last - first)
