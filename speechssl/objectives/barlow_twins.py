"""Barlow Twins (arXiv 2103.03230); on audio it is DeLoRes-S (arXiv 2203.13628)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from speechssl.limits import require
from speechssl.models.backbone import Backbone
from speechssl.objectives.heads import full_precision, projection
from speechssl.objectives.objective import ObjectiveOutput
from speechssl.objectives.views import ViewBatch, ViewObjective

_EPSILON = 1e-5
"""Added to variances, as BatchNorm does."""


@dataclass
class BarlowTwinsSettings:
    """Barlow Twins: each feature agrees between two views, and no two features say the same."""

    projector: int = 2048
    """Width of the three layers of the projector (2048 in DeLoRes-S, 8192 in Barlow Twins)."""
    off_diagonal: float = 0.0051
    """Weight of the correlations between different features (0.0051 as in Barlow Twins; 1 in the code of DeLoRes-S)."""

    def __post_init__(self) -> None:
        require({"objective.barlow_twins.projector": self.projector}, above=0)
        require({"objective.barlow_twins.off_diagonal": self.off_diagonal}, least=0)


class BarlowTwins(ViewObjective):
    """The cross-correlation of two views' projections is driven to the identity.

    The loss is `sum_i (1 - C_ii)^2 + w sum_(i != j) C_ij^2`, C being the cross-correlation over the batch. With several
    processes each correlates its own batch.
    """

    metrics = ("barlow_loss",)

    def __init__(self, backbone: Backbone, settings: BarlowTwinsSettings) -> None:
        """Make the projector: three layers without biases."""
        super().__init__()
        self.off_diagonal = settings.off_diagonal
        self.projector = projection([backbone.dim, *[settings.projector] * 3], bias=False)

    def forward(self, backbone: Backbone, batch: ViewBatch) -> ObjectiveOutput:
        """Return the loss of the batch; metric: `barlow_loss`."""
        projected = [self.projector(backbone(view).pooled) for view in batch.views]
        pairs = itertools.combinations(projected, 2)
        loss = torch.stack([barlow_loss(cross_correlation(*pair), self.off_diagonal) for pair in pairs]).mean()
        count = len(batch.clips)
        return ObjectiveOutput(loss, {"barlow_loss": (loss.detach() * count, count)})


def standardize(features: Tensor) -> Tensor:
    """Return `(batch, dim)` in float32, each feature with mean 0 and variance 1 over the batch (biased variance)."""
    features = features.float()
    variance, mean = torch.var_mean(features, dim=0, correction=0)
    return (features - mean) / (variance + _EPSILON).sqrt()


def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return `(dim, dim)`, float32: how feature i of `first` `(batch, dim)` goes with feature j of `second`."""
    with full_precision(first):
        return standardize(first).T @ standardize(second) / len(first)


def barlow_loss(correlation: Tensor, off_diagonal: float) -> Tensor:
    """Return the loss of a cross-correlation matrix `(dim, dim)`.

    Args:
        correlation: see :func:`cross_correlation`.
        off_diagonal: weight of the entries off the diagonal.
    """
    diagonal = correlation.diagonal()
    others = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + off_diagonal * others
