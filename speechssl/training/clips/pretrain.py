"""Pretraining on views of clips: the first step of UnFuSeD (arXiv 2303.05668) and its relatives."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from typing import Any

import torch
from fairseq2.gang import Gangs
from torch import Tensor, nn

from speechssl.audio.augment import Augmentation, Partners, any_partner, build_augmentation
from speechssl.data.recording_labels import read_clusters
from speechssl.errors import few
from speechssl.files import checksum
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.objectives.choose import build_view_objective
from speechssl.objectives.collapse import collapse_signs, knn_accuracy
from speechssl.objectives.k_mix import KMix
from speechssl.objectives.views import ViewBatch, ViewObjective
from speechssl.progress import progress
from speechssl.training.clips.classes import class_numbers, read_classes
from speechssl.training.clips.dataset import cluster_file
from speechssl.training.clips.reader import ClipBatch
from speechssl.training.clips.settings import Crops, PretrainClipsSettings
from speechssl.training.clips.trainable import ClipModel, ClipTraining
from speechssl.training.run import run_training
from speechssl.training.trainable import Metrics

log = logging.getLogger(__name__)


def pretrain_clips(settings: PretrainClipsSettings) -> None:
    """Train, or go on with, the run in `settings.out`: see :func:`speechssl.training.run.run_training`."""
    run_training(settings, ViewPretraining)


class ViewModel(ClipModel):
    """An encoder of clips that learns from several views of each.

    Args:
        encoder: its backbone learns.
        objective: the loss.
        augmentation: makes a view of a batch.
        views: number of views, of one clip each or all of the same one.
        piece: clips that are encoded at once in evaluation mode.
    """

    def __init__(
        self, encoder: ClipEncoder, objective: ViewObjective, augmentation: Augmentation, views: int, piece: int
    ) -> None:
        super().__init__()
        self.views = views
        self.piece = piece
        self.encoder = encoder
        self.objective = objective
        self.augmentation = augmentation

    def forward(self, batch: ClipBatch) -> tuple[Tensor, Metrics]:
        """Return the loss and its metrics; in evaluation mode no loss, and how far the features have collapsed."""
        if not self.training:
            return self._watch(batch)
        generator = torch.Generator().manual_seed(batch.seed)
        spectrograms = [self.encoder.log_mel(clip) for clip in batch.waveforms]
        sources = spectrograms * (self.views // len(spectrograms))
        views = [self.augmentation(spectrogram, generator) for spectrogram in sources]
        loss, metrics = self.objective(self.encoder.backbone, ViewBatch(views, batch.clips, batch.epoch))
        return loss, metrics

    def _watch(self, batch: ClipBatch) -> tuple[Tensor, Metrics]:
        pieces = batch.waveforms[0].split(self.piece)
        pooled = torch.cat([self.encoder.backbone(self.encoder.log_mel(piece)).pooled.float() for piece in pieces])
        pooled, labels = _finite(batch, pooled)
        metrics: Metrics = {
            name: (torch.tensor(value * len(pooled)), len(pooled)) for name, value in collapse_signs(pooled).items()
        }
        if labels is not None:
            known = labels >= 0
            count = int(known.sum())
            accuracy = knn_accuracy(pooled[known], labels[known]) if count > 1 else 0.0
            metrics["knn_accuracy"] = (torch.tensor(accuracy * count), count)
        return pooled.new_zeros(()), metrics


def _finite(batch: ClipBatch, pooled: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the features that are finite, and their labels; warn of the others, with their names."""
    finite = pooled.isfinite().all(dim=1)
    broken = [name for name, whole in zip(batch.names, finite.tolist(), strict=True) if not whole]
    if broken:
        log.warning("held-out clips whose features are not finite are left out: %s", few(broken))
    return pooled[finite], None if batch.labels is None else batch.labels[finite]


class ViewPretraining(ClipTraining):
    """An encoder that learns from several views of each clip."""

    settings: PretrainClipsSettings
    watched_together = True

    def __init__(self, settings: PretrainClipsSettings) -> None:
        super().__init__(settings)
        self.crops = settings.views if settings.crops is Crops.different else 1
        if settings.clusters is not None:
            self.apart, _ = read_clusters(cluster_file(settings.clusters, self.train), self.train.manifest)
        if settings.watch_column is not None:
            cells = read_classes(self.valid.manifest, settings.watch_column, "watch_column")
            self.valid_labels = class_numbers(cells, sorted({*cells} - {""}))
        with torch.device("meta"):
            objective = self.build_model().objective
        self.metrics, self._hears_all_first = objective.metrics, objective.hears_all_first
        names = ["rankme", "feature_variance"]
        self.valid_metrics = names if self.valid_labels is None else [*names, "knn_accuracy"]

    def build_model(self) -> ViewModel:
        """Return a freshly initialised model."""
        settings = self.settings
        encoder = ClipEncoder(settings.model)
        frames = encoder.spectrogram.frames(max(self.train.samples, encoder.field_samples))
        return ViewModel(
            encoder,
            build_view_objective(settings.objective, encoder.backbone, clips=len(self.train)),
            build_augmentation(settings.augment, settings.model.log_mel.num_mels, frames, self._partners()),
            settings.views,
            settings.clips,
        )

    def _partners(self) -> Partners:
        """Return what picks the clip that another one is mixed with."""
        settings = self.settings
        kmix = settings.objective.slicer.kmix
        return KMix(kmix, settings.model.log_mel.num_mels) if settings.k_mix else any_partner

    def check_steps(self, model: nn.Module, steps: int, gangs: Gangs) -> None:
        """Refuse a run that is over before its objective has begun."""
        assert isinstance(model, ViewModel)
        model.objective.check_epochs(steps / self.updates_an_epoch(gangs))

    def prepare(self, model: nn.Module, gangs: Gangs, dtype: torch.dtype) -> None:
        """Let an objective that remembers all clips hear each of them once, as DeepCluster-v2's code does."""
        if not self._hears_all_first:
            return
        reader = self._reader(gangs)
        updates = progress(range(reader.updates_an_epoch), "hearing all clips", "update", reader.updates_an_epoch)
        name = self.settings.objective.name.value
        log.info("%s: all %d clips are heard once before the first update", name, len(self.train))
        model.train()
        started = time.monotonic()
        narrow = torch.autocast(gangs.device.type, dtype, enabled=dtype is not torch.float32)
        with contextlib.closing(reader), torch.no_grad(), narrow:
            for _ in updates:
                for batch in next(reader):
                    batch.to(gangs.device)
                    # Other draws than those of epoch 0, whose clips they are.
                    model(dataclasses.replace(batch, epoch=-1, seed=batch.seed ^ 1))
        log.info("%s: heard them in %.0f s", name, time.monotonic() - started)

    def inputs(self) -> dict[str, str]:
        """Return manifests, and clusters where there are some, with their checksums."""
        clusters = self.settings.clusters
        files = [] if clusters is None else [cluster_file(clusters, self.train)]
        return super().inputs() | {str(file): checksum(file) for file in files}

    def describe(self) -> dict[str, Any]:
        """Return the name of the objective."""
        return {"objective": self.settings.objective.name.value}
