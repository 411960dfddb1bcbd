from __future__ import annotations

import numpy as np
import pytest

from speechssl.evaluation.hear.events import Event, Postprocessing, find_events, frame_targets, frame_times

TIMES = frame_times(8, 50.0)


def test_a_frame_is_at_its_middle() -> None:
    assert TIMES.tolist() == [10, 30, 50, 70, 90, 110, 130, 150]
    assert frame_times(2, 12.5).tolist() == [40, 120]


def test_targets_of_frames_within_events_ends_included() -> None:
    events = [Event(0, 30, 70), Event(1, 65, 111), Event(0, 149, 400)]
    targets = frame_targets(events, TIMES, 3)
    assert targets[:, 0].tolist() == [0, 1, 1, 1, 0, 0, 0, 1]
    assert targets[:, 1].tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    assert targets[:, 2].tolist() == [0] * 8


def rows(*columns: list[float]) -> np.ndarray:
    return np.array(columns, dtype=np.float32).T


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Postprocessing(0, 0), [Event(0, 10, 10), Event(0, 50, 110), Event(1, 130, 150)]),
        (Postprocessing(0, 20), [Event(0, 50, 110), Event(1, 130, 150)]),
        (Postprocessing(0, 60), [Event(0, 50, 110)]),
        # Medians of three frames, the outer ones counted twice: .9 .6 .6 .7 .7 .6 .5 .5, and 0 ... .51 .51.
        (Postprocessing(60, 0), [Event(0, 10, 110), Event(1, 130, 150)]),
    ],
)
def test_events_of_probabilities_by_hand(how: Postprocessing, expected: list[Event]) -> None:
    probabilities = rows([0.9, 0.1, 0.6, 0.7, 0.8, 0.6, 0.2, 0.5], [0.0] * 6 + [0.9, 0.51])
    assert find_events(probabilities, TIMES, how) == expected


def test_a_click_is_smoothed_away_and_a_hole_filled() -> None:
    probabilities = rows([0.1, 0.9, 0.1, 0.1, 0.9, 0.9, 0.1, 0.9])
    assert find_events(probabilities, TIMES, Postprocessing(60, 0)) == [Event(0, 90, 150)]


def test_nothing_above_a_half_is_no_event() -> None:
    assert find_events(np.full((8, 2), 0.5, np.float32), TIMES, Postprocessing(0, 0)) == []
