"""Mixed Barlow Twins (arXiv 2312.02151): Barlow Twins and a regularisation by mixtures of clips."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor

from speechssl.limits import named, require
from speechssl.models.backbone import Backbone
from speechssl.objectives.barlow_twins import barlow_loss, standardize
from speechssl.objectives.heads import full_precision, projection
from speechssl.objectives.objective import ObjectiveOutput
from speechssl.objectives.views import ViewBatch, ViewObjective
from speechssl.settings import read_where_set
from speechssl.transfer import moved


@dataclass
class MixedBarlowTwinsSettings:
    """Barlow Twins whose projection of a mixture is held to the mixture of projections."""

    projector: int = 2048
    """Width of the three layers of the projector."""
    off_diagonal: float = 0.0051
    """Weight of the correlations between different features (0.0051 as published)."""
    mix_weight: float = field(default=4.0, metadata=read_where_set("off_diagonal"))
    """Weight of the mixtures' loss, times `off_diagonal`, as published; there it is between 1 and 5 (4 on CIFAR-10)."""
    beta: float = field(default=1.0, metadata=read_where_set("mix_weight"))
    """Shares of the first view are drawn from Beta(beta, beta), once a batch (1 as published: uniform)."""

    def __post_init__(self) -> None:
        require(named(self, "projector", "beta", prefix="objective.mixed_barlow_twins."), above=0)
        require(named(self, "off_diagonal", "mix_weight", prefix="objective.mixed_barlow_twins."), least=0)


class MixedBarlowTwins(ViewObjective):
    """Barlow Twins, and mixtures `x_m = a x_1 + (1 - a) x_2[permuted]` of first and second views of different clips.

    The cross-correlations of the mixtures' projections with those of either view are driven to the same mixture of the
    cross-correlations of x_1 and of x_2[permuted] with it.
    In evaluation mode a is 1/2 and each clip is mixed with the one before it, so that nothing is left to chance.
    """

    metrics = ("barlow_loss", "mix_loss")

    def __init__(self, backbone: Backbone, settings: MixedBarlowTwinsSettings) -> None:
        """Make the projector: three layers without biases."""
        super().__init__()
        self.settings = settings
        self.projector = projection([backbone.dim, *[settings.projector] * 3], bias=False)

    def forward(self, backbone: Backbone, batch: ViewBatch) -> ObjectiveOutput:
        """Return the loss of the batch; metrics: `barlow_loss`, and `mix_loss` before it is weighted."""
        projected = [self.projector(backbone(view).pooled) for view in batch.views]
        pairs = itertools.combinations(zip(batch.views, projected, strict=True), 2)
        losses = [self._compare(backbone, *one, *two) for one, two in pairs]
        barlow, mix = torch.stack(losses).mean(dim=0)
        loss = barlow + self.settings.mix_weight * self.settings.off_diagonal * mix
        count = len(batch.clips)
        metrics = {"barlow_loss": (barlow.detach() * count, count), "mix_loss": (mix.detach() * count, count)}
        return ObjectiveOutput(loss, metrics)

    def _compare(self, backbone: Backbone, first: Tensor, one: Tensor, second: Tensor, two: Tensor) -> Tensor:
        """Return the two losses of a pair of views with their projections, `(2,)`."""
        share, partners = self._drawn(len(first))
        partners = moved(partners, first.device)
        mixed = self.projector(backbone(share * first + (1 - share) * second[partners]).pooled)
        with full_precision(first):
            one, two, mixed = standardize(one), standardize(two), standardize(mixed)
            barlow = barlow_loss(one.T @ two / len(one), self.settings.off_diagonal)
            expected = share * one + (1 - share) * two[partners]
            errors = [(mixed - expected).T @ view / len(view) for view in (one, two)]
            return torch.stack([barlow, torch.stack(errors).square().sum()])

    def _drawn(self, clips: int) -> tuple[float, Tensor]:
        """Return the share of the first view, and which clip each one is mixed with."""
        if not self.training:
            return 0.5, torch.arange(clips).roll(1)
        beta = torch.tensor(self.settings.beta)
        return float(torch.distributions.Beta(beta, beta).sample()), torch.randperm(clips)
