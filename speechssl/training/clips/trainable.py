"""What training on clips has in common: manifests, readers, the encoder that is left."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from fairseq2.gang import Gangs
from torch import Tensor, nn

from speechssl.audio import SAMPLE_RATE
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.hubert import HubertEncoder
from speechssl.models.save import save_encoder
from speechssl.training.clips.dataset import ClipDataset
from speechssl.training.clips.reader import ClipReader, HeldOutReader, check_enough_clips
from speechssl.training.clips.settings import ClipSettings
from speechssl.training.dataset import AudioCache
from speechssl.training.trainable import RunReader, Trainable, TrainBatch, initial_weights, load_encoder_weights

log = logging.getLogger(__name__)

Labels = npt.NDArray[np.int64]


class ClipModel(nn.Module):
    """A model around an encoder of clips."""

    encoder: ClipEncoder


class ClipTraining(Trainable):
    """Training on clips; a subclass adds the model and what it learns."""

    settings: ClipSettings
    crops = 1
    """Clips of each recording in a batch."""
    labels: Labels | None = None
    """`(recordings,)` classes of the training split."""
    apart: Labels | None = None
    """`(recordings,)` clusters of the training split: no two recordings of one are in an update."""
    watched_together = False
    """Whether the held-out clips are one batch, because metrics are of all of them together."""
    keeps_held_out = True
    """Whether the held-out clips, as they are cut, stay in memory. There must be a limit to their number."""
    valid_labels: Labels | None = None
    """`(recordings,)` classes of the held-out split; -1 where none is known."""

    def __init__(self, settings: ClipSettings) -> None:
        self.settings = settings
        cache = AudioCache(settings.data.cache_gb)
        self.train = ClipDataset(settings.data.train, settings.data, settings.seed, cache)
        # What the reader of held-out clips keeps is not kept here, too.
        held_out = AudioCache(0) if self.keeps_held_out else cache
        self.valid = ClipDataset(settings.data.valid, settings.data, 0, held_out)

    def log_data(self) -> None:
        """Say what is trained on."""
        for name, data in (("train", self.train), ("valid", self.valid)):
            log.info(
                "%s: %d recordings, %.2f h; clips of %g s: %d recordings are shorter and padded, %d longer and cut",
                name, len(data), data.manifest.samples.sum() / SAMPLE_RATE / 3600, self.settings.data.seconds,
                data.padded, data.cut,
            )  # fmt: skip

    def inputs(self) -> dict[str, str]:
        """Return the manifests with their checksums."""
        return self.train.inputs() | self.valid.inputs() | initial_weights(self.settings.init_from)

    def check_plans(self, gangs: Gangs) -> None:
        """Every process needs clips in every update."""
        updates = self._reader(gangs).updates_an_epoch
        check_enough_clips(len(self.train) // updates, self.settings.clips, gangs.dp.size)
        log.info("train: updates an epoch: %d, of about %.0f clips each", updates, len(self.train) / updates)

    def updates_an_epoch(self, gangs: Gangs) -> int:
        """Return the number of updates of an epoch."""
        return self._reader(gangs).updates_an_epoch

    def reader(self, gangs: Gangs, training: bool) -> RunReader[TrainBatch]:
        """Return a reader of training clips, or of the held-out ones."""
        if training:
            return self._reader(gangs)
        data = self.settings.data
        batch = data.watch if self.watched_together else self.settings.clips
        return HeldOutReader(self.valid, data.watch, batch, data.workers, self.valid_labels, self.keeps_held_out)

    def _reader(self, gangs: Gangs) -> ClipReader:
        return ClipReader(
            self.train,
            self.settings.clips,
            self.crops,
            self.settings.seed,
            gangs.dp.rank,
            gangs.dp.size,
            self.settings.data.workers,
            self.labels,
            self.apart,
        )

    def load_initial_weights(self, model: nn.Module) -> None:
        """Start from the encoder of `init_from`."""
        assert isinstance(model, ClipModel) and self.settings.init_from is not None
        load_encoder_weights(model.encoder, self.settings.init_from)

    def has_unused_parameters(self, model: nn.Module) -> bool:
        """Every part of the encoder has a gradient; what has none, such as a momentum copy, asks for none."""
        return False

    def empty_encoder(self) -> HubertEncoder | ClipEncoder:
        """Return an encoder as the run's, whose weights do not matter."""
        return ClipEncoder(self.settings.model)

    def save(self, folder: Path, state: dict[str, Tensor], step: int) -> None:
        """Write the encoder folder; heads, queues and memories are in checkpoints only."""
        # Without storage, so that nothing is drawn.
        with torch.device("meta"):
            encoder = self.empty_encoder()
        own = {name.removeprefix("encoder."): weight for name, weight in state.items() if name.startswith("encoder.")}
        encoder.load_state_dict(own, assign=True)
        save_encoder(folder, encoder, heads_info={"step": step, **self.describe()})

    def describe(self) -> dict[str, Any]:
        """Return what is said of the run beside its encoder."""
        return {}
