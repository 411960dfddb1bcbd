"""Clips are padded or cut on both sides."""

from __future__ import annotations

import pytest
import torch

from speechssl.audio.clip import fit_clip


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (6, [1, 2, 3, 4, 5, 6]),
        (4, [0, 1, 2, 3, 4, 0]),
        (3, [0, 1, 2, 3, 0, 0]),
        (1, [0, 0, 1, 0, 0, 0]),
        (8, [2, 3, 4, 5, 6, 7]),
        (9, [2, 3, 4, 5, 6, 7]),
    ],
)
def test_short_ones_stand_in_the_middle_of_zeros_and_long_ones_are_cut_in_the_middle(
    length: int, expected: list[int]
) -> None:
    assert fit_clip(torch.arange(1, length + 1), 6).tolist() == expected
