"""Transformations of clips that can be told from one another, for a model that learns them beside its classes.

They act on waveforms, so they fit every encoder. Which ones there are is this project's choice.
"""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional


class Transformation(str, Enum):
    """What is done to a clip. Nothing is drawn: each is always the same."""

    backwards = "backwards"
    slower = "slower"
    faster = "faster"


_RATES = {Transformation.slower: (4, 5), Transformation.faster: (5, 4)}
"""Rates before and after resampling: 0.8 and 1.25 times as fast, and pitched as much lower and higher."""


def transform(waveforms: Tensor, kind: Transformation) -> Tensor:
    """Return clips played backwards, slower or faster, as long as before.

    A slower clip loses its two ends, a faster one stands in the middle of zeros.

    Args:
        waveforms: `(batch, samples)`.
        kind: what is done.
    """
    if kind is Transformation.backwards:
        return waveforms.flip(-1)
    from torchaudio.functional import resample

    # A filter of autocast's precision would add noise.
    with torch.autocast(waveforms.device.type, enabled=False):
        played = resample(waveforms, *_RATES[kind])
    missing = waveforms.size(-1) - played.size(-1)
    # Less than nothing is cut away.
    return functional.pad(played, (missing // 2, missing - missing // 2))
