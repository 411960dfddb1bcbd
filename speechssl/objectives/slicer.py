"""SLICER (arXiv 2211.01519): contrast of clips and of clusters at once; its augmentation is in `k_mix.py`."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from speechssl.limits import named, require
from speechssl.models.backbone import Backbone
from speechssl.objectives.contrastive import Contrast, HardNegativeSettings, TemperatureSettings
from speechssl.objectives.heads import MomentumCopy, full_precision, projection, unit_vectors
from speechssl.objectives.k_mix import KMixSettings
from speechssl.objectives.objective import ObjectiveOutput
from speechssl.objectives.queues import KeyQueue
from speechssl.objectives.views import (
    ViewBatch,
    ViewObjective,
    all_orders,
)


@dataclass
class SlicerSettings:
    """MoCo in both directions, and the same contrast between clusters.

    Open points follow the released code, but that mixes and crops a view before k-mix, where here k-mix is in place of
    mixing, before the crop.
    """

    projection: int = 128
    """Width of queries and keys; the head is one linear layer."""
    queue: int = 65_536
    """Keys kept as negatives (65 536 as published); those of the clip itself are left out. A run keeps at most half as
    many as there are clips: more would be older keys of the same clips."""
    momentum: float = 0.999
    """How slowly the encoder of the keys follows: 0.999 of it stays in each update."""
    temperature: float = 0.07
    """Divides the cosine similarities of clips."""
    clusters: int = 128
    """Number of clusters (128 as published)."""
    cluster_hidden: int = 2048
    """Width of the hidden layer of the clusters' head."""
    cluster_temperature: float = 1.0
    """Divides the cosine similarities of clusters."""
    entropy_weight: float = 0.0
    """Weight of a penalty on clusters of unequal size: 0 in the released code, 1 in Contrastive Clustering."""
    kmix: KMixSettings = field(default_factory=KMixSettings)
    """k-mix; read where the augmentation is built."""
    hard_negatives: HardNegativeSettings = field(default_factory=HardNegativeSettings)
    """MoCHi, for the contrast of clips."""
    temperatures: TemperatureSettings = field(default_factory=TemperatureSettings)
    """iSogCLR, for the contrast of clips."""

    def __post_init__(self) -> None:
        sizes = ("projection", "queue", "clusters", "cluster_hidden")
        require(named(self, *sizes, "temperature", "cluster_temperature", prefix="objective.slicer."), above=0)
        require({"objective.slicer.entropy_weight": self.entropy_weight}, least=0)
        require({"objective.slicer.momentum": self.momentum}, least=0, most=1)
        self.hard_negatives.check("objective.slicer.hard_negatives")
        self.temperatures.check("objective.slicer.temperatures")


class Slicer(ViewObjective):
    """The sum of the contrast of clips in both directions and the contrast of clusters.

    A head gives each view's probabilities of the clusters. A cluster is then a column: how likely each clip of the
    batch is to belong to it. Its key is the same cluster as of the other views, its negatives are all other clusters
    (Contrastive Clustering, arXiv 2009.09687).

    Args:
        backbone: the encoder, which is copied.
        settings: see :class:`SlicerSettings`.
        clips: number of clips in the training manifest; read with individual temperatures only.
    """

    metrics = ("contrast_loss", "contrast_accuracy", "cluster_contrast_loss")

    def __init__(self, backbone: Backbone, settings: SlicerSettings, clips: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.head = projection([backbone.dim, settings.projection])
        self.cluster_head = projection([backbone.dim, settings.cluster_hidden, settings.clusters], norm=False)
        self.slow = MomentumCopy(settings.momentum, backbone, self.head)
        self.queue = KeyQueue(settings.queue, settings.projection)
        self.contrast = Contrast(settings.temperature, settings.hard_negatives, settings.temperatures, clips)

    def check_epochs(self, epochs: float) -> None:
        """See :meth:`Contrast.check_epochs`."""
        self.contrast.check_epochs(epochs)

    def forward(self, backbone: Backbone, batch: ViewBatch) -> ObjectiveOutput:
        """Return the loss; metrics: `contrast_loss` (a mean), `contrast_accuracy`, `cluster_contrast_loss`."""
        views = batch.views
        if self.training:
            self.slow.follow(backbone, self.head)
        pooled = [backbone(view).pooled for view in views]
        queries = [unit_vectors(self.head(one)) for one in pooled]
        with torch.no_grad():
            slow_backbone, slow_head = self.slow.copies
            keys = [unit_vectors(slow_head(slow_backbone(view).pooled)) for view in views]
        asked, belonging = all_orders(queries)[0], all_orders(keys)[1]
        # A copy: the queue moves on before the backward pass.
        allowed = self.queue.of_others(batch.clips).repeat(len(asked) // len(batch.clips), 1)
        loss, correct = self.contrast(asked, belonging, self.queue.keys.clone(), batch, allowed)
        if self.training:
            self.queue.push(torch.cat(keys), batch.clips.repeat(len(keys)))
        assigned = [self.cluster_head(one).float().softmax(dim=1) for one in pooled]
        pairs = itertools.combinations(assigned, 2)
        clusters = torch.stack([cluster_contrast(*pair, self.settings.cluster_temperature) for pair in pairs]).mean()
        penalty = self.settings.entropy_weight * 2 * torch.stack([inequality(one) for one in assigned]).mean()
        count, queried = len(batch.clips), len(asked)
        metrics = {
            "contrast_loss": (loss.detach() * queried, queried),
            "contrast_accuracy": (correct, queried),
            "cluster_contrast_loss": (clusters.detach() * count, count),
        }
        return ObjectiveOutput(2 * loss + clusters + penalty, metrics)


def cluster_contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Return the contrast of clusters, a mean over the clusters of both views.

    Args:
        first: `(batch, clusters)`: probabilities of the clusters for the first views.
        second: for the second views.
        temperature: divides the cosine similarities.
    """
    with full_precision(first):
        columns = unit_vectors(torch.cat([first, second], dim=1).T)
        similar = (columns @ columns.T / temperature).fill_diagonal_(-torch.inf)
        partners = torch.arange(len(columns), device=columns.device).roll(first.shape[1])
        return F.cross_entropy(similar, partners)


def inequality(probabilities: Tensor) -> Tensor:
    """Return how far the sizes of clusters `(batch, clusters)` are from equal: `log(clusters)` less their entropy."""
    sizes = probabilities.mean(dim=0)
    return math.log(len(sizes)) - torch.special.entr(sizes).sum()
