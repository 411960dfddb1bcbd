"""Supervised fine-tuning: an encoder and a linear classifier on its pooled output (LAPE's protocol)."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
from fairseq2.gang import Gangs
from torch import Tensor, nn
from torch.nn import functional as F

from speechssl.errors import UserError
from speechssl.files import checksum, read_json, write_json
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.encoder import Encoder
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import load_encoder, read_tensors
from speechssl.models.save import save_encoder, save_tensors
from speechssl.objectives.label_augmentation import LabelAugmentation
from speechssl.training.clips.classes import metadata_file, read_classes
from speechssl.training.clips.dataset import ClipDataset
from speechssl.training.clips.reader import ClipBatch, HeldOutReader
from speechssl.training.clips.settings import FinetuneSettings
from speechssl.training.clips.trainable import ClipTraining, Labels
from speechssl.training.run import run_training
from speechssl.training.trainable import Metrics, RunReader, TrainBatch

log = logging.getLogger(__name__)

BEST = "best"
"""Folder of the encoder and classifier of the validation with the highest accuracy."""


def finetune(settings: FinetuneSettings) -> None:
    """Train, or go on with, the run in `settings.out`: see :func:`speechssl.training.run.run_training`.

    Besides `encoder/` of the last update it leaves `best/`: encoder, classifier (`classifier.safetensors`) and
    `best.json` (step, accuracy, loss; classes, their column, seconds of a clip) of the validation with the highest
    accuracy.
    """
    run_training(settings, Finetuning)


class Classifier(nn.Module):
    """An encoder with a linear classifier.

    Args:
        encoder: learns too.
        classes: number of classes.
        augmentation: of the labels, in training; the classifier alone predicts.
    """

    def __init__(
        self, encoder: HubertEncoder | ClipEncoder, classes: int, augmentation: LabelAugmentation | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.dim, classes)
        self.augmentation = augmentation

    def forward(self, batch: ClipBatch) -> tuple[Tensor, Metrics]:
        """Return the mean loss: cross-entropy, or in training with augmented labels theirs.

        The metrics are `loss` and `accuracy` of the classifier, and those of the augmentation.
        """
        assert batch.labels is not None
        waveforms, count = batch.waveforms[0], len(batch.labels)
        augmented: Metrics = {}
        if self.augmentation is not None and self.training:
            pooled = self.pooled(self.augmentation.see(waveforms))
            logits = self.classify(pooled[:count])
            loss, augmented = self.augmentation(pooled, logits, batch.labels)
        else:
            logits = self.logits(waveforms)
            loss = F.cross_entropy(logits, batch.labels)
        correct = (logits.argmax(dim=1) == batch.labels).sum()
        return loss, {"loss": (loss.detach() * count, count), "accuracy": (correct, count), **augmented}

    def pooled(self, waveforms: Tensor) -> Tensor:
        """Return `(batch, dim)`: what the encoder makes of clips `(batch, samples)`."""
        return self.encoder.pool(self.encoder(waveforms))

    def classify(self, pooled: Tensor) -> Tensor:
        """Return `(batch, classes)` logits in float32 of what the encoder pooled."""
        logits: Tensor = self.classifier(pooled)
        return logits.float()

    def logits(self, waveforms: Tensor) -> Tensor:
        """Return `(batch, classes)` logits in float32 of clips `(batch, samples)`."""
        return self.classify(self.pooled(waveforms))


def load_classifier(folder: Path) -> tuple[Classifier, list[str]]:
    """Return the model of a run's `best/`, in evaluation mode on the CPU, and the names of its classes.

    Raises:
        UserError: they are not there, or not whole.
    """
    classes = read_json(folder / "best.json")["classes"]
    model = Classifier(require_tunable(load_encoder(folder), str(folder)), len(classes))
    model.classifier.load_state_dict(read_tensors(folder / "classifier.safetensors"))
    return model.eval(), classes


def require_tunable(encoder: Encoder, name: str) -> HubertEncoder | ClipEncoder:
    """Return `encoder` if it is of a kind that can be trained, else raise a `UserError` with its name."""
    if not isinstance(encoder, HubertEncoder | ClipEncoder):
        raise UserError(f"{name} cannot be fine-tuned: it is a {type(encoder).__name__}")
    return encoder


class Finetuning(ClipTraining):
    """An encoder that learns the classes of a metadata column."""

    settings: FinetuneSettings
    labels: Labels
    valid_labels: Labels

    def __init__(self, settings: FinetuneSettings) -> None:
        super().__init__(settings)
        train, valid = (self._keep_labelled(data) for data in (self.train, self.valid))
        self.classes = sorted(set(train))
        strange = sorted(set(valid) - set(train))
        if strange:
            raise UserError(
                f"{self.valid.manifest.file} has a class that the training part lacks: {', '.join(strange)}"
            )
        self.labels, self.valid_labels = self._numbers(train), self._numbers(valid)
        start = settings.init_from
        self._start = None if start is None else require_tunable(load_encoder(start), start)
        self.valid_metrics = ["loss", "accuracy"]
        self.metrics = self.valid_metrics
        if settings.sla.transformations:
            self.metrics = [*self.valid_metrics, *LabelAugmentation.metrics]

    def _keep_labelled(self, data: ClipDataset) -> list[str]:
        """Leave out the recordings without a class, and return those of the others."""
        cells = read_classes(data.manifest, self.settings.column)
        labelled = [row for row, cell in enumerate(cells) if cell]
        if not labelled:
            raise UserError(
                f"none of the {len(cells)} recordings of {data.manifest.file} has a {self.settings.column}: "
                "give another column, or label some"
            )
        if len(labelled) < len(cells):
            log.info(
                "%s: %d of %d recordings have no %s: they are left out",
                data.manifest.file, len(cells) - len(labelled), len(cells), self.settings.column,
            )  # fmt: skip
        data.keep(labelled)
        return [cells[row] for row in labelled]

    def _numbers(self, cells: list[str]) -> Labels:
        number = {name: place for place, name in enumerate(self.classes)}
        return np.array([number[cell] for cell in cells], dtype=np.int64)

    def inputs(self) -> dict[str, str]:
        """Return manifests and classes with their checksums."""
        tables = [metadata_file(data.manifest) for data in (self.train, self.valid)]
        return super().inputs() | {str(table): checksum(table) for table in tables}

    def reader(self, gangs: Gangs, training: bool) -> RunReader[TrainBatch]:
        """Return a reader of training clips, or of all held-out ones."""
        if training:
            return super().reader(gangs, training)
        count, workers = len(self.valid), self.settings.data.workers
        return HeldOutReader(self.valid, count, self.settings.clips, workers, self.valid_labels)

    def build_model(self) -> Classifier:
        """Return the encoder that the run starts from, with a fresh classifier."""
        encoder = ClipEncoder(self.settings.model) if self._start is None else copy.deepcopy(self._start)
        classes, sla = len(self.classes), self.settings.sla
        augmentation = LabelAugmentation(encoder.dim, classes, sla) if sla.transformations else None
        return Classifier(encoder, classes, augmentation)

    def load_initial_weights(self, model: nn.Module) -> None:
        """The model was built from them."""

    def has_unused_parameters(self, model: nn.Module) -> bool:
        """Nothing is masked, so the mask embedding of a HuBERT encoder has no gradient."""
        assert isinstance(model, Classifier)
        return isinstance(model.encoder, HubertEncoder)

    def after_validation(self, folder: Path, model: nn.Module, metrics: dict[str, float]) -> None:
        """Keep the weights if the held-out accuracy was never higher before."""
        assert isinstance(model, Classifier)
        best = folder / BEST
        file = best / "best.json"
        if file.is_file():
            before = read_json(file)
            # A run that goes on from a checkpoint comes by its later validations again.
            if (before["accuracy"], -before["step"]) >= (metrics["accuracy"], -metrics["step"]):
                return
        file.unlink(missing_ok=True)
        save_encoder(best, model.encoder, heads_info={"step": metrics["step"], **self.describe()})
        save_tensors(best / "classifier.safetensors", model.classifier.state_dict())
        numbers = {name: metrics[name] for name in ("step", "accuracy", "loss")}
        task = {"classes": self.classes, "column": self.settings.column, "seconds": self.settings.data.seconds}
        write_json(file, numbers | task)

    def empty_encoder(self) -> HubertEncoder | ClipEncoder:
        """Return an encoder of the kind that the run starts from."""
        return self.build_model().encoder

    def describe(self) -> dict[str, Any]:
        """Return what was learned."""
        return {"objective": "classes", "column": self.settings.column}
