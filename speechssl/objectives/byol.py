"""BYOL (arXiv 2006.07733) with the settings of BYOL for Audio (BYOL-A, arXiv 2103.06695)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from speechssl.limits import named, require
from speechssl.models.backbone import Backbone
from speechssl.objectives.heads import MomentumCopy, full_precision, projection
from speechssl.objectives.objective import ObjectiveOutput
from speechssl.objectives.views import ViewBatch, ViewObjective


@dataclass
class ByolSettings:
    """Predict what a slowly following copy of the encoder makes of the other view. There are no negatives."""

    projection: int = 256
    """Width of the projections."""
    hidden: int = 4096
    """Width of the hidden layers of projector and predictor."""
    momentum: float = 0.99
    """How slowly the copy follows: 0.99 of it stays in each update."""

    def __post_init__(self) -> None:
        require(named(self, "projection", "hidden", prefix="objective.byol."), above=0)
        require({"objective.byol.momentum": self.momentum}, least=0, most=1)


class Byol(ViewObjective):
    """The loss is `2 - 2 cos(predicted, made by the copy)`, summed over the two directions: 0 to 8.

    BYOL-A's code normalises the views of a batch once more after they are mixed and cropped; here they are not.

    Args:
        backbone: the encoder, which is copied.
        settings: see :class:`ByolSettings`.
    """

    metrics = ("byol_loss",)

    def __init__(self, backbone: Backbone, settings: ByolSettings) -> None:
        super().__init__()
        self.projector = projection([backbone.dim, settings.hidden, settings.projection])
        self.predictor = projection([settings.projection, settings.hidden, settings.projection])
        self.slow = MomentumCopy(settings.momentum, backbone, self.projector)

    def forward(self, backbone: Backbone, batch: ViewBatch) -> ObjectiveOutput:
        """Return the mean loss; metric: `byol_loss`."""
        if self.training:
            self.slow.follow(backbone, self.projector)
        predicted = [self.predictor(self.projector(backbone(view).pooled)).float() for view in batch.views]
        with torch.no_grad():
            slow_backbone, slow_projector = self.slow.copies
            targets = [slow_projector(slow_backbone(view).pooled).float() for view in batch.views]
        pairs = itertools.combinations(zip(predicted, targets, strict=True), 2)
        with full_precision(predicted[0]):
            losses = [_distance(mine, their) + _distance(other, its) for (mine, its), (other, their) in pairs]
            loss = torch.stack(losses).mean()
        count = len(batch.clips)
        return ObjectiveOutput(loss, {"byol_loss": (loss.detach() * count, count)})


def _distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the squared distance `(batch,)` of two vectors brought to length 1."""
    return 2 - 2 * F.cosine_similarity(predicted, target, dim=1)
