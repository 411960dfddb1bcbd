from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from speechssl.models.clip_config import BackboneName, ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import size_config

NARROW = {
    "conv_layers": [[24, 10, 5], *([24, 3, 2] for _ in range(4)), *([24, 2, 2] for _ in range(2))],
    "num_layers": 3,
    "dim": 48,
    "ffn_dim": 96,
    "num_heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 4,
}
"""Published sizes made narrow: the layout stays, the time goes."""

SHAPES = {
    "base": ("base", {}),
    "large": ("large", {}),
    "stack": ("tiny", {"conv_layers": []}),
    "conv": ("fast", {"conv_layers": [], "fbank_conv_dim": 20}),
}


@pytest.fixture
def narrow() -> Callable[..., HubertEncoder]:
    """Build a narrow encoder of a shape (`base`, `large`, `stack`, `conv`) whose biases and norms are not trivial."""

    def build(shape: str, **changes: Any) -> HubertEncoder:
        size, layout = SHAPES[shape]
        torch.manual_seed(1)
        encoder = HubertEncoder(size_config(size, **{**NARROW, **layout, **changes}))
        with torch.no_grad():
            for parameter in encoder.parameters():
                # Everything moves away from zeros and ones, so that a parameter used in a wrong place shows.
                parameter.add_(0.1 * torch.randn_like(parameter))
        return encoder.eval()

    return build


@pytest.fixture
def clip_encoder() -> Callable[..., ClipEncoder]:
    """Build a small encoder of clips whose running normalisation has seen two batches of noise."""

    def build(backbone: str, **changes: Any) -> ClipEncoder:
        torch.manual_seed(1)
        sizes = {"audio_ntt_dim": 48, "vit_dim": 24, "vit_ffn_dim": 32}
        encoder = ClipEncoder(ClipConfig(BackboneName(backbone), **{**sizes, **changes}))
        with torch.no_grad():
            for loudness in (0.001, 0.3):
                encoder.log_mel(loudness * torch.randn(4, 16_000))
            for module in encoder.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    # Without it an untrained EfficientNet gives the same for all sounds.
                    module.weight.fill_(3.0)
        return encoder.eval()

    return build


@pytest.fixture
def speechlike() -> Tensor:
    """Three waveforms `(3, 9600)` with changing loudness and an offset."""
    generator = torch.Generator().manual_seed(7)
    time = torch.arange(9_600) / 16_000
    tones = torch.stack([torch.sin(2 * torch.pi * pitch * time * (1 + time)) for pitch in (110.0, 180.0, 250.0)])
    loudness = torch.sin(2 * torch.pi * 3 * time).square() + 0.1
    return 0.3 * tones * loudness + 0.01 * torch.randn(3, 9_600, generator=generator) + 0.02
