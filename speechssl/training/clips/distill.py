"""Self-distillation of a freshly initialised encoder on clusters: the third step of UnFuSeD (arXiv 2303.05668)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from speechssl.audio.augment import Augmentation, build_augmentation
from speechssl.data.recording_labels import ClusterInfo, read_clusters
from speechssl.errors import UserError
from speechssl.files import checksum
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.objectives.self_distillation import SelfDistillation
from speechssl.training.clips.dataset import ClipDataset, cluster_file
from speechssl.training.clips.reader import ClipBatch
from speechssl.training.clips.settings import DistillSettings
from speechssl.training.clips.trainable import ClipModel, ClipTraining, Labels
from speechssl.training.run import run_training
from speechssl.training.trainable import Metrics


def distill(settings: DistillSettings) -> None:
    """Train, or go on with, the run in `settings.out`: see :func:`speechssl.training.run.run_training`."""
    run_training(settings, Distillation)


class DistillationModel(ClipModel):
    """An encoder of clips with a classifier of pseudo-labels at its output and at each tap.

    Args:
        encoder: its backbone learns.
        objective: the classifiers and their losses.
        augmentation: makes a view of a batch, in training.
    """

    def __init__(self, encoder: ClipEncoder, objective: SelfDistillation, augmentation: Augmentation) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self.augmentation = augmentation

    def forward(self, batch: ClipBatch) -> tuple[Tensor, Metrics]:
        """Return the loss and its metrics."""
        assert batch.labels is not None
        spectrogram = self.encoder.log_mel(batch.waveforms[0])
        if self.training:
            spectrogram = self.augmentation(spectrogram, torch.Generator().manual_seed(batch.seed))
        loss, metrics = self.objective(self.encoder.backbone(spectrogram), batch.labels)
        return loss, metrics


class Distillation(ClipTraining):
    """A fresh encoder that learns the clusters of the target's recordings."""

    settings: DistillSettings
    labels: Labels
    valid_labels: Labels

    def __init__(self, settings: DistillSettings) -> None:
        super().__init__(settings)
        self.labels, self._info = self._clusters(self.train)
        self.valid_labels, valid = self._clusters(self.valid)
        if valid.model_sha256 != self._info.model_sha256:
            raise UserError(f"{settings.clusters}: train and valid are of two clusterings; make both with one")
        with torch.device("meta"):
            self.metrics = self.valid_metrics = self.build_model().objective.metrics

    def _clusters(self, data: ClipDataset) -> tuple[Labels, ClusterInfo]:
        return read_clusters(cluster_file(self.settings.clusters, data), data.manifest)

    def inputs(self) -> dict[str, str]:
        """Return manifests and clusters with their checksums."""
        files = [cluster_file(self.settings.clusters, data) for data in (self.train, self.valid)]
        return super().inputs() | {str(file): checksum(file) for file in files}

    def build_model(self) -> DistillationModel:
        """Return a freshly initialised model."""
        settings = self.settings
        encoder = ClipEncoder(settings.model)
        frames = encoder.spectrogram.frames(max(self.train.samples, encoder.field_samples))
        return DistillationModel(
            encoder,
            SelfDistillation(encoder.backbone, self._info.k, settings.distillation),
            build_augmentation(settings.augment, settings.model.log_mel.num_mels, frames),
        )

    def describe(self) -> dict[str, Any]:
        """Return where the pseudo-labels came from."""
        return {"objective": "self_distillation", "clusters": self.settings.clusters, "k": self._info.k}
