"""Transformations of clips: what they do to a tone, and that nothing else changes."""

from __future__ import annotations

import math

import pytest
import torch

from speechssl.audio.transformations import Transformation, transform

TONES = (1000.0, 2400.0)


def tones(samples: int) -> torch.Tensor:
    time = torch.arange(samples) / 16000
    return torch.stack([0.5 * torch.sin(2 * math.pi * hertz * time) for hertz in TONES])


def strongest_hertz(clip: torch.Tensor) -> float:
    return float(torch.fft.rfft(clip * torch.hann_window(len(clip)), n=160_000).abs().argmax()) / 10


@pytest.mark.parametrize(("kind", "factor"), [("slower", 0.8), ("faster", 1.25), ("backwards", 1.0)])
def test_every_clip_of_a_batch_is_as_much_higher_as_it_is_faster(kind: str, factor: float) -> None:
    played = transform(tones(16000), Transformation(kind))
    for clip, hertz in zip(played, TONES, strict=True):
        assert strongest_hertz(clip) == pytest.approx(factor * hertz, abs=2.0)
        assert clip[4000:12000].abs().max() == pytest.approx(0.5, rel=0.03)


def test_backwards_is_the_clip_from_its_end() -> None:
    clips = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert transform(clips, Transformation.backwards).tolist() == [[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]]


def test_a_faster_clip_stands_in_the_middle_of_zeros_and_a_slower_one_is_cut_at_both_ends() -> None:
    impulse = torch.zeros(1, 16000)
    impulse[0, 4000] = 1.0
    # 4000 samples before the middle; 5/4 and 4/5 as far from it afterwards.
    for kind, place in ((Transformation.slower, 8000 - 5000), (Transformation.faster, 8000 - 3200)):
        assert abs(int(transform(impulse, kind).argmax()) - place) <= 1
    faster = transform(torch.ones(1, 16000), Transformation.faster)[0]
    assert not faster[:1599].any() and not faster[-1599:].any() and faster[1700:-1700].min() > 0.9


@pytest.mark.parametrize("kind", Transformation)
@pytest.mark.parametrize("samples", [1, 101, 15_999])
def test_the_length_stays(kind: Transformation, samples: int) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        played = transform(tones(samples), kind)
    assert played.shape == (2, samples) and played.dtype == torch.float32 and played.isfinite().all()
