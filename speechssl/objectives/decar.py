"""DECAR-v2: DeepCluster-v2 (SwAV, arXiv 2006.09882, appendix) on audio, step 1 of UnFuSeD (arXiv 2303.05668)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from speechssl.errors import UserError
from speechssl.limits import require
from speechssl.models.backbone import Backbone
from speechssl.objectives.heads import full_precision, projection, unit_vectors
from speechssl.objectives.objective import ObjectiveOutput
from speechssl.objectives.spherical_kmeans import spherical_kmeans
from speechssl.objectives.views import ViewBatch, ViewObjective
from speechssl.processes import gathered, write_rows


@dataclass
class DecarSettings:
    """Predict the cluster of a clip, clustered anew in every epoch."""

    prototypes: int = 1024
    """Number of clusters (1024 as published); at most as many as there are clips."""
    hidden: int = 2048
    """Width of the hidden layer of the projector."""
    projection: int = 512
    """Width of the projections that are clustered."""
    iterations: int = 10
    """Iterations of k-means at the start of an epoch."""
    temperature: float = 1.0
    """Divides the cosine similarities to the prototypes (1 in DECAR-v2, 0.1 in DeepCluster-v2)."""

    def __post_init__(self) -> None:
        require({f"objective.decar.{name}": value for name, value in vars(self).items()}, above=0)


class Decar(ViewObjective):
    """Cross-entropy between the other views' similarities to the prototypes and the cluster of the first view.

    A memory bank holds one projection of every clip: of its first view, as of the last time it was read, with length 1.
    At the first batch of an epoch spherical k-means clusters the bank. The centroids become the prototypes, which no
    gradient moves, and a clip keeps its cluster until the next epoch.

    A run fills the bank with projections of the untrained encoder before its first update (`hears_all_first`). A clip
    that was not in the bank at the last clustering has no cluster and adds nothing to the loss; it only enters the
    bank. The bank is clustered once it holds as many clips as there are prototypes.

    Args:
        backbone: the encoder.
        settings: see :class:`DecarSettings`.
        clips: number of clips in the training manifest.

    Raises:
        UserError: more prototypes than clips.
    """

    metrics = ("cluster_loss", "cluster_accuracy")
    hears_all_first = True
    bank: Tensor
    known: Tensor
    clusters: Tensor
    prototypes: Tensor
    epoch: Tensor

    def __init__(self, backbone: Backbone, settings: DecarSettings, clips: int) -> None:
        super().__init__()
        if settings.prototypes > clips:
            raise UserError(
                f"objective.decar.prototypes={settings.prototypes} clusters need at least as many clips, and there are "
                f"{clips}: give objective.decar.prototypes={max(1, clips // 10)} or more audio"
            )
        self.temperature = settings.temperature
        self.iterations = settings.iterations
        self.projector = projection([backbone.dim, settings.hidden, settings.projection])
        self.register_buffer("bank", torch.zeros(clips, settings.projection))
        self.register_buffer("known", torch.zeros(clips, dtype=torch.bool))
        # -1: no cluster yet.
        self.register_buffer("clusters", torch.full((clips,), -1))
        self.register_buffer("prototypes", torch.zeros(settings.prototypes, settings.projection))
        self.register_buffer("epoch", torch.tensor(-1))

    def forward(self, backbone: Backbone, batch: ViewBatch) -> ObjectiveOutput:
        """Return the mean over the clips that have a cluster; metrics: `cluster_loss`, `cluster_accuracy`."""
        clustered, *predicting = batch.views
        self._begin(batch.epoch)
        # First the views that are trained: autocast keeps the weights that it casts, and those cast without gradients
        # would be used again here.
        projected = torch.cat([self._project(backbone, view) for view in predicting])
        with torch.no_grad():
            remembered = self._project(backbone, clustered)
        expected = self.clusters[batch.clips]
        self._remember(batch.clips, remembered)
        with full_precision(projected):
            scores = projected @ self.prototypes.T / self.temperature
            return self._compare(scores, expected.repeat(len(predicting)))

    def _project(self, backbone: Backbone, view: Tensor) -> Tensor:
        """Return `(batch, projection)`, each of length 1, in float32."""
        return unit_vectors(self.projector(backbone(view).pooled))

    def _begin(self, epoch: int) -> None:
        """Cluster the bank if an epoch begins with this batch."""
        if int(self.epoch) == epoch:
            return
        self.epoch.fill_(epoch)
        if int(self.known.sum()) < len(self.prototypes):
            return
        # The epoch is the seed, so that a run that resumes here draws the same first centroids.
        centroids, clusters = spherical_kmeans(self.bank[self.known], len(self.prototypes), self.iterations, epoch)
        self.prototypes.copy_(centroids)
        self.clusters[self.known] = clusters

    def _remember(self, clips: Tensor, projected: Tensor) -> None:
        clips, projected = gathered(clips), gathered(projected)
        write_rows(self.bank, clips, projected)
        self.known[clips] |= projected.isfinite().all(1)

    @staticmethod
    def _compare(scores: Tensor, expected: Tensor) -> ObjectiveOutput:
        counted = int((expected >= 0).sum())
        total = F.cross_entropy(scores, expected, ignore_index=-1, reduction="sum")
        correct = (scores.argmax(1) == expected).sum()
        metrics = {"cluster_loss": (total.detach(), counted), "cluster_accuracy": (correct, counted)}
        return ObjectiveOutput(total / max(counted, 1), metrics)
