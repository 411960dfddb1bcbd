"""Sounds in time: from events to targets of frames, and from probabilities of frames to events.

Both as in hear-eval-kit 2021.1.3: an event begins at the first and ends at the last of the frames next to each other
whose smoothed probability is above a half.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

THRESHOLD = 0.5


class Event(NamedTuple):
    """A sound in a recording."""

    label: int
    """Index of the class."""
    start: float
    """Milliseconds."""
    end: float
    """Milliseconds."""


class Postprocessing(NamedTuple):
    """How probabilities become events."""

    median_filter_ms: float
    """Width of the median filter over time; 0 is none."""
    min_duration: float
    """Milliseconds; shorter events are dropped."""


def frame_times(frames: int, frame_rate: float) -> npt.NDArray[np.float64]:
    """Return the milliseconds of the middle of each frame, as s3prl counts them."""
    return (np.arange(frames, dtype=np.float64) + 0.5) * 1000.0 / frame_rate


def frame_targets(events: Sequence[Event], times: npt.NDArray[np.float64], classes: int) -> Tensor:
    """Return `(frames, classes)`: 1 where a frame's time is within an event of the class, its ends included."""
    targets = torch.zeros(len(times), classes)
    for event in events:
        inside = (times >= event.start) & (times <= event.end)
        targets[torch.from_numpy(inside), event.label] = 1.0
    return targets


def find_events(
    probabilities: npt.NDArray[np.float32], times: npt.NDArray[np.float64], how: Postprocessing
) -> list[Event]:
    """Return the events of one recording, by class and time.

    Args:
        probabilities: `(frames, classes)`, two frames at least.
        times: milliseconds of the frames, evenly spaced.
        how: width of the filter, and the shortest event.
    """
    width = round(how.median_filter_ms / float(np.mean(np.diff(times))))
    if width:
        from scipy.ndimage import median_filter  # slow to import

        probabilities = median_filter(probabilities, size=(width, 1))
    events = []
    for label, active in enumerate((probabilities > THRESHOLD).T):
        edges = np.flatnonzero(np.diff(active, prepend=False, append=False))
        for first, behind in edges.reshape(-1, 2).tolist():
            start, end = float(times[first]), float(times[behind - 1])
            if end - start >= how.min_duration:
                events.append(Event(label, start, end))
    return events
