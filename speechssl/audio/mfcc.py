"""The MFCC features of HuBERT's first iteration."""

from __future__ import annotations

import torch
from torch import Tensor
from torchaudio.compliance import kaldi
from torchaudio.functional import compute_deltas

from speechssl.audio.decode import SAMPLE_RATE
from speechssl.audio.fbank import fbank_frames

MFCC_FRAME_RATE = 100.0
"""Frames a second."""

MFCC_DIM = 39
"""13 coefficients, their deltas and delta-deltas."""


def mfcc(waveform: Tensor) -> Tensor:
    """Return 13 MFCC with deltas and delta-deltas, as fairseq's `examples/hubert/simple_kmeans/dump_mfcc_feature.py`.

    Args:
        waveform: `(samples,)` at 16 kHz.

    Returns:
        `(frames, 39)`, one frame every 10 ms; no frames for less than one window of 25 ms.
    """
    if fbank_frames(len(waveform)) == 0:
        return waveform.new_zeros(0, MFCC_DIM)
    static = kaldi.mfcc(waveform[None], sample_frequency=SAMPLE_RATE, use_energy=False).T
    deltas = compute_deltas(static)
    return torch.cat([static, deltas, compute_deltas(deltas)]).T.contiguous()
