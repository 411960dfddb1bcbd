"""Masked pretraining: HuBERT and HuBERTopic, as the training loop sees them."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import torch
from fairseq2.gang import Gangs
from torch import Tensor, nn

from speechssl.audio import SAMPLE_RATE
from speechssl.models.hubert import HubertEncoder
from speechssl.models.save import save_encoder
from speechssl.training.batching import UpdatePlanner
from speechssl.training.dataset import AudioCache, PretrainDataset, check_same_source
from speechssl.training.model import PretrainModel, build_model, copy_heads, heads_state, layer_index
from speechssl.training.reader import PretrainReader
from speechssl.training.run import run_training
from speechssl.training.settings import PretrainSettings
from speechssl.training.trainable import Trainable, initial_weights, load_encoder_weights

log = logging.getLogger(__name__)


def pretrain(settings: PretrainSettings) -> None:
    """Train, or go on with, the run in `settings.out`: see :func:`speechssl.training.run.run_training`."""
    run_training(settings, MaskedPretraining)


class MaskedPretraining(Trainable):
    """An encoder that learns to predict the units of masked frames, and topics where the settings ask for them."""

    settings: PretrainSettings

    def __init__(self, settings: PretrainSettings) -> None:
        self.settings = settings
        # One layer only: the data asks it how many frames an utterance has.
        self._shape = HubertEncoder(dataclasses.replace(settings.model, num_layers=1))
        self._cache = AudioCache(settings.data.cache_gb)
        self._train = self._dataset(settings.data.train, settings.seed)
        self._valid = self._dataset(settings.data.valid, 0)
        check_same_source(self._train, self._valid)
        with torch.device("meta"):
            self.metrics = self.valid_metrics = self.build_model().metrics

    def log_data(self) -> None:
        """Say what is trained on."""
        for name, data in (("train", self._train), ("valid", self._valid)):
            log.info(
                "%s: %d utterances, %.2f h; %d shorter than data.min_seconds=%g left out",
                name, len(data.samples), data.samples.sum() / SAMPLE_RATE / 3600, data.too_short,
                self.settings.data.min_seconds,
            )  # fmt: skip

    def inputs(self) -> dict[str, str]:
        """Return manifests, labels and topics with their checksums."""
        return self._train.inputs() | self._valid.inputs() | initial_weights(self.settings.init_from)

    def check_plans(self, gangs: Gangs) -> None:
        """Plan the first epochs and a validation."""
        self._planner(self._train, gangs).check()
        valid = self._planner(self._valid, gangs)
        for update in valid.in_order():
            valid.batches(update)

    def updates_an_epoch(self, gangs: Gangs) -> int:
        """Return the number of updates of an epoch."""
        return len(self._planner(self._train, gangs).epoch(0))

    def build_model(self) -> PretrainModel:
        """Return a freshly initialised model."""
        topics = self._train.topics
        return build_model(
            self.settings,
            labels=self._label_numbers(),
            topics=None if topics is None else topics.posteriors.shape[1],
        )

    def load_initial_weights(self, model: nn.Module) -> None:
        """Start from the encoder of `init_from`, and its head where that predicts the same units."""
        assert isinstance(model, PretrainModel) and self.settings.init_from is not None
        load_encoder_weights(model.encoder, self.settings.init_from)
        copy_heads(model, Path(self.settings.init_from), self._train.labels[0].info.kmeans_sha256)

    def reader(self, gangs: Gangs, training: bool) -> PretrainReader:
        """Return a reader of training or held-out audio."""
        data = self._train if training else self._valid
        settings = self.settings
        return PretrainReader(
            data,
            self._planner(data, gangs),
            self._shape,
            settings.batch.fit,
            gangs.dp.rank,
            training,
            settings.data.workers,
        )

    def has_unused_parameters(self, model: nn.Module) -> bool:
        """Return whether some have no gradient: convolutions that are frozen, layers above the highest loss."""
        assert isinstance(model, PretrainModel)
        if self.settings.model.feature_grad_mult == 0:
            return True
        objective = self.settings.objective
        losses = [*objective.layers, objective.topic_layer] if objective.topic_weight > 0 else objective.layers
        return model.encoder.num_layers not in [layer_index(layer, model.encoder.num_layers) for layer in losses]

    def save(self, folder: Path, state: dict[str, Tensor], step: int) -> None:
        """Write the encoder folder."""
        with torch.device("meta"):
            whole = self.build_model()
        whole.load_state_dict(state, assign=True)
        labels = [labels.info for labels in self._train.labels]
        info = {
            "step": step,
            "label_sets": list(self.settings.data.labels),
            "k": self._label_numbers(),
            "frame_rate": [info.frame_rate for info in labels],
            "kmeans_sha256": [info.kmeans_sha256 for info in labels],
            "layer": layer_index(self.settings.objective.layers[-1], whole.encoder.num_layers),
            "logit_temperature": self.settings.objective.temperature,
        }
        save_encoder(folder, whole.encoder, heads_state(whole), info)

    def _label_numbers(self) -> list[int]:
        """Return how many labels each set has. Of labels without a sidecar a split may lack the largest."""
        sets = zip(self._train.labels, self._valid.labels, strict=True)
        return [max(train.info.k, valid.info.k) for train, valid in sets]

    def _dataset(self, manifest: str, seed: int) -> PretrainDataset:
        settings = self.settings
        return PretrainDataset(
            manifest,
            settings.data,
            settings.mask,
            self._shape,
            seed=seed,
            cache=self._cache,
        )

    def _planner(self, data: PretrainDataset, gangs: Gangs) -> UpdatePlanner:
        batch = self.settings.batch
        return UpdatePlanner(
            samples=data.samples,
            update_samples=max(1, int(batch.total_seconds * SAMPLE_RATE)),
            batch_samples=int(batch.seconds * SAMPLE_RATE),
            bucket_updates=batch.bucket_updates,
            processes=gangs.dp.size,
            seed=self.settings.seed,
        )
