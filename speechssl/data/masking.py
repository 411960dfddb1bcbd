"""Span masks and the frames they apply to, drawn for one utterance at a time.

Nothing here depends on the batch an utterance is in, so a mask is the same for any batch size and number of processes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speechssl.limits import named, require


@dataclass
class MaskSettings:
    """How much of an utterance is hidden from the encoder (HuBERT, arXiv 2106.07447)."""

    probability: float = 0.8
    """Share of the frames that would be masked if spans did not overlap (0.8 as published; about half in effect)."""
    length: int = 10
    """Frames in a span (10 as published, at 50 frames a second)."""
    min_spans: int = 2
    """Spans in an utterance at least, however short it is."""

    def __post_init__(self) -> None:
        require({"mask.probability": self.probability}, above=0, most=1)
        require(named(self, "length", "min_spans", prefix="mask."), least=1)


def span_mask(
    frames: int, probability: float, length: int, min_spans: int, generator: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Draw a mask of spans that may overlap, as fairseq's static mask before it makes those of a batch equally large.

    fairseq then uncovers single masked frames, so that all utterances of a batch have as many; here none is uncovered.
    With crops of 15.6 s .57 of the frames are masked here and about .54 there, of shorter ones fewer there.

    Args:
        frames: frames of the utterance.
        probability: share of frames masked if spans did not overlap.
        length: frames in a span; an utterance of at most this length has spans of half its frames.
        min_spans: spans at least.
        generator: where the randomness comes from.

    Returns:
        `(frames,)`, true where masked. Start positions are drawn without repetition.
    """
    mask = np.zeros(frames, dtype=bool)
    length = min(length, max(1, frames // 2))
    # The fraction is rounded at random, so that its mean is exact.
    spans = max(min_spans, int(probability * frames / length + generator.random()))
    places = frames - length + 1
    starts = generator.choice(places, size=min(spans, places), replace=False)
    mask[(starts[:, None] + np.arange(length)[None, :]).ravel()] = True
    return mask


def label_positions(frames: int, frame_rate: float, label_rate: float, first: int = 0) -> npt.NDArray[np.int64]:
    """Return the index of the label of each encoder frame.

    Where there are several labels to a frame, it is the one whose centre is nearest before the frame's: of labels at
    twice the frame rate every second one, as in fairseq; of labels at four times the frame rate (40 ms frames, 10 ms
    labels) the second of four. Where there are fewer labels than frames, it is the last that has begun, as in fairseq:
    of two frames to a label both have it.

    Args:
        frames: number of encoder frames.
        frame_rate: encoder frames a second.
        label_rate: labels a second.
        first: place of the first frame in the recording, where a crop begins.

    Returns:
        `(frames,)` indices, not limited to the labels there are.
    """
    ratio = label_rate / frame_rate
    places = first + np.arange(frames)
    positions = (places + 0.5) * ratio - 0.5 if ratio > 1 else places * ratio
    # A tiny step up, so that 3.9999999 from rounding counts as 4.
    return np.floor(positions + 1e-6).astype(np.int64)
