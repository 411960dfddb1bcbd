"""Tiny backbones, and batches of views for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from speechssl.models.backbone import Backbone, BackboneOutput
from speechssl.objectives.views import ViewBatch


class Through(Backbone):
    """The first frame of the input is the output, so that a test writes down the features themselves."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim, self.tap_dims, self.stride = dim, [dim], 1

    def forward(self, log_mel: Tensor) -> BackboneOutput:
        pooled = log_mel[:, :, 0]
        return BackboneOutput(pooled[:, None], [pooled], pooled)


class Tiny(Backbone):
    """Two linear layers over mels; the first is the tap."""

    def __init__(self, mels: int = 4, dim: int = 6) -> None:
        super().__init__()
        self.dim, self.tap_dims, self.stride = dim, [5], 1
        self.lower, self.upper = nn.Linear(mels, 5), nn.Linear(5, dim)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, log_mel: Tensor) -> BackboneOutput:
        lower = self.norm(self.lower(log_mel.mT).mT).relu().mT
        frames = self.upper(lower)
        return BackboneOutput(frames, [lower.mean(1)], frames.mean(1))


@pytest.fixture
def through() -> type[Through]:
    return Through


@pytest.fixture
def tiny() -> Tiny:
    torch.manual_seed(0)
    return Tiny()


@pytest.fixture
def views() -> Callable[..., ViewBatch]:
    """Make a batch: of written features `(batch, dim)` for `Through`, or of random log-mels for `Tiny`."""

    def make(*features: Tensor, clips: list[int] | None = None, epoch: int = 0, seed: int = 1) -> ViewBatch:
        if features:
            log_mels = [feature[:, :, None] for feature in features]
        else:
            generator = torch.Generator().manual_seed(seed)
            log_mels = [torch.randn(len(clips or range(8)), 4, 3, generator=generator) for _ in range(2)]
        return ViewBatch(log_mels, torch.tensor(clips or range(len(log_mels[0]))), epoch)

    return make
