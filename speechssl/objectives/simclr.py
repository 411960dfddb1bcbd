"""Contrast within a batch: SimCLR (arXiv 2002.05709) and, for audio, COLA (arXiv 2010.10915)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechssl.limits import named, require
from speechssl.models.backbone import Backbone
from speechssl.objectives.contrastive import Contrast, HardNegativeSettings, TemperatureSettings
from speechssl.objectives.heads import full_precision, projection, unit_vectors
from speechssl.objectives.objective import ObjectiveOutput
from speechssl.objectives.views import ViewBatch, ViewObjective, all_orders


@dataclass
class SimClrSettings:
    """Tell the other view of a clip from the views of all other clips of the batch."""

    projection: int = 128
    """Width of the space in which views are compared (128 as published)."""
    hidden: int = 2048
    """Width of the hidden layer of the head (2048 as published: the encoder's)."""
    temperature: float = 0.1
    """Divides the cosine similarities (0.1 as published)."""
    hard_negatives: HardNegativeSettings = field(default_factory=HardNegativeSettings)
    """MoCHi."""
    temperatures: TemperatureSettings = field(default_factory=TemperatureSettings)
    """iSogCLR."""

    def __post_init__(self) -> None:
        require(named(self, "projection", "hidden", "temperature", prefix="objective.simclr."), above=0)
        self.hard_negatives.check("objective.simclr.hard_negatives")
        self.temperatures.check("objective.simclr.temperatures")


class SimClr(ViewObjective):
    """NT-Xent: every view is a query whose key is another view of the clip.

    With several processes each contrasts its own batch.

    Args:
        backbone: the encoder; only its width is read.
        settings: see :class:`SimClrSettings`.
        clips: number of clips in the training manifest; read with individual temperatures only.
    """

    metrics = ("contrast_loss", "contrast_accuracy")

    def __init__(self, backbone: Backbone, settings: SimClrSettings, clips: int = 0) -> None:
        super().__init__()
        self.head = projection([backbone.dim, settings.hidden, settings.projection])
        self.contrast = Contrast(settings.temperature, settings.hard_negatives, settings.temperatures, clips)

    def check_epochs(self, epochs: float) -> None:
        """See :meth:`Contrast.check_epochs`."""
        self.contrast.check_epochs(epochs)

    def forward(self, backbone: Backbone, batch: ViewBatch) -> ObjectiveOutput:
        """Return the loss, a mean over the views; metrics: `contrast_loss`, `contrast_accuracy`."""
        views = [unit_vectors(self.head(backbone(view).pooled)) for view in batch.views]
        queries, keys = all_orders(views)
        # A view is no negative of its own clip.
        clips = torch.eye(len(batch.clips), dtype=torch.bool, device=queries.device)
        others = ~clips.repeat(len(queries) // len(clips), len(views))
        loss, correct = self.contrast(queries, keys, torch.cat(views), batch, others)
        return _output(loss, correct, len(queries))


@dataclass
class ColaSettings:
    """Tell the other view of a clip from the second views of the batch, by a similarity that is learnt.

    It has no temperature and its vectors no length of 1, so neither MoCHi nor iSogCLR goes with it.
    """

    projection: int = 512
    """Width of the space in which views are compared (512 as published)."""

    def __post_init__(self) -> None:
        require({"objective.cola.projection": self.projection}, above=0)


class Cola(ViewObjective):
    """Cross-entropy over the batch of the bilinear similarities `x' W y` of first views x and second views y.

    As published the views are two segments of a clip; here they are whatever the augmentation makes.
    """

    metrics = ("contrast_loss", "contrast_accuracy")

    def __init__(self, backbone: Backbone, settings: ColaSettings) -> None:
        """Make the projection, a linear layer, LayerNorm and tanh, and W."""
        super().__init__()
        width = settings.projection
        self.head = nn.Sequential(nn.Linear(backbone.dim, width), nn.LayerNorm(width), nn.Tanh())
        self.bilinear = nn.Linear(width, width, bias=False)

    def forward(self, backbone: Backbone, batch: ViewBatch) -> ObjectiveOutput:
        """Return the mean loss; metrics: `contrast_loss`, `contrast_accuracy`."""
        views = [self.head(backbone(view).pooled).float() for view in batch.views]
        with full_precision(views[0]):
            pairs = itertools.combinations(views, 2)
            similar = torch.cat([first @ self.bilinear(second).T for first, second in pairs])
            own = torch.arange(len(batch.clips), device=similar.device).repeat(len(similar) // len(batch.clips))
            return _output(F.cross_entropy(similar, own), (similar.argmax(dim=1) == own).sum(), len(own))


def _output(loss: Tensor, correct: Tensor, count: int) -> ObjectiveOutput:
    """Return a mean loss over `count` queries, of which `correct` found their key, with its metrics."""
    metrics = {"contrast_loss": (loss.detach() * count, count), "contrast_accuracy": (correct, count)}
    return ObjectiveOutput(loss, metrics)
