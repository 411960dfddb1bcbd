"""Masks, and which label belongs to which frame."""

from __future__ import annotations

import numpy as np
import pytest

from speechssl.data.masking import label_positions, span_mask


def test_span_mask_covers_what_random_spans_cover():
    generator = np.random.default_rng(0)
    masks = np.stack([span_mask(500, 0.8, 10, 2, generator) for _ in range(400)])
    # 40 starts of 491 places without repetition: a frame is left free if none of its 10 places is drawn.
    expected = 1 - np.prod([(491 - 40 - i) / (491 - i) for i in range(10)])
    assert masks[:, 20:480].mean() == pytest.approx(expected, abs=0.01)
    short = span_mask(3, 0.8, 10, 2, generator)
    assert 0 < short.sum() < 3


def test_label_positions_as_fairseq_for_whole_ratios():
    # fairseq: arange(frames) * label_rate / frame_rate, for 50 Hz frames and labels at 50 and 100 Hz.
    np.testing.assert_array_equal(label_positions(5, 50.0, 100.0), np.arange(5) * 2)
    np.testing.assert_array_equal(label_positions(5, 50.0, 50.0), np.arange(5))
    np.testing.assert_array_equal(label_positions(3, 25.0, 100.0), [1, 5, 9])
    np.testing.assert_array_equal(label_positions(4, 50.0, 25.0), [0, 0, 1, 1])
    np.testing.assert_array_equal(label_positions(4, 50.0, 25.0, first=3), [1, 2, 2, 3])
