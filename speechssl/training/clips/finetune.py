"""Supervised fine-tuning: an encoder and a linear classifier on its pooled output (LAPE's protocol).

With pseudo-labels a run has three steps (prediction pre-training, Guo, arXiv 2011.09031): a classifier learns the real
labels, its pseudo-labels of the other recordings are learnt, and from there the real labels alone again. Below
`settings.out`, whose own run is the last step, there is

- `classifier/`: the run of the first step
- `pseudo_labels/`: as `speechssl pseudo_label` writes it
- `pretraining/`: the run of the second step, whose last weights the third one starts from

Where no pseudo-label is kept the second step is left out, and the third one starts as the first did.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairseq2.gang import Gangs
from torch import nn

from speechssl.data.manifest import read_manifest
from speechssl.data.metadata import metadata_file
from speechssl.data.tables import read_table
from speechssl.errors import UserError, few
from speechssl.files import checksum, read_json, write_json
from speechssl.models.clip_config import ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.device import pick_device
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import load_encoder
from speechssl.models.save import save_encoder, save_tensors
from speechssl.objectives.label_augmentation import LabelAugmentation
from speechssl.training.clips.classes import class_numbers, read_classes
from speechssl.training.clips.classifier import BEST, Classifier, require_tunable
from speechssl.training.clips.dataset import ClipDataset
from speechssl.training.clips.pseudo_labels import KEPT, TABLE, find_pseudo_labels, pseudo_label_inputs
from speechssl.training.clips.reader import HeldOutReader
from speechssl.training.clips.settings import FinetuneSettings, PredictionPretrainingSettings, PseudoLabelSettings
from speechssl.training.clips.trainable import ClipTraining, Labels
from speechssl.training.device import Joined, joined_gang
from speechssl.training.run import run_training
from speechssl.training.run_folder import RunFolder
from speechssl.training.trainable import RunReader, TrainBatch

log = logging.getLogger(__name__)


def finetune(settings: FinetuneSettings, joined: Joined | None = None) -> None:
    """Train, or go on with, the run in `settings.out`: see :func:`speechssl.training.run.run_training`.

    Besides `encoder/` of the last update it leaves `best/`: encoder, classifier (`classifier.safetensors`) and
    `best.json` (step, accuracy, loss; classes, their column, seconds of a clip) of the validation with the highest
    accuracy.

    Args:
        settings: of the command.
        joined: the processes, where they do more than this run.
    """
    if settings.pseudo_labels.confidence is None:
        run_training(settings, Finetuning, joined)
        return
    learnt = Path(settings.out) / "pretraining"
    RunFolder(_last_step(settings, learnt)).check_same_settings()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_each_line_once())
        joined = joined or stack.enter_context(joined_gang(pick_device(settings.run.device, "run.device")))
        _learn_pseudo_labels(settings, settings.pseudo_labels.confidence, joined, learnt)
        run_training(_last_step(settings, learnt), Finetuning, joined)


def _last_step(settings: FinetuneSettings, learnt: Path) -> FinetuneSettings:
    """Return the settings of the third step, which starts from the second one where that was taken."""
    if not learnt.is_dir():
        return settings
    # What `model` says is in the weights by then.
    return dataclasses.replace(settings, init_from=str(learnt / "encoder"), model=ClipConfig())


@contextlib.contextmanager
def _each_line_once() -> Iterator[None]:
    """Leave out what is said of the data a second time: the steps share most of it."""
    told: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        line = record.getMessage()
        known = line in told
        told.add(line)
        return not known

    loggers = (log, logging.getLogger(ClipTraining.__module__))
    for logger in loggers:
        logger.addFilter(is_new)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_new)


def _learn_pseudo_labels(settings: FinetuneSettings, confidence: float, joined: Joined, learnt: Path) -> None:
    """Take the first two steps of prediction pre-training.

    Args:
        settings: of all three.
        confidence: see :class:`PredictionPretrainingSettings`.
        joined: the processes.
        learnt: run folder of the second step; not made where no pseudo-label is kept.
    """
    _require_unlabelled(settings)
    alone = dataclasses.replace(settings, pseudo_labels=PredictionPretrainingSettings())
    first = dataclasses.replace(alone, out=str(Path(settings.out) / "classifier"))
    run_training(first, Finetuning, joined)
    labelled = PseudoLabelSettings(
        classifier=first.out,
        manifest=settings.data.train,
        out=str(Path(settings.out) / "pseudo_labels"),
        confidence=confidence,
        neighbours=settings.pseudo_labels.neighbours,
        workers=settings.data.workers,
        device=settings.run.device,
    )
    if joined.rank == 0:
        _write_pseudo_labels(labelled)
    joined.barrier()
    if not _any_kept(Path(labelled.out) / TABLE):
        _require_no_run(learnt)
        log.info("the second step, which learns pseudo-labels, is left out")
        return
    second = dataclasses.replace(
        alone,
        out=str(learnt),
        data=dataclasses.replace(settings.data, train=str(Path(labelled.out) / Path(settings.data.train).name)),
        schedule=dataclasses.replace(settings.schedule, steps=None, minutes=None, epochs=settings.pseudo_labels.epochs),
        # Its last weights are taken, so validations on the way decide nothing.
        run=dataclasses.replace(settings.run, validate_every=settings.run.checkpoint_every),
    )
    run_training(second, Finetuning, joined)
    # The first process writes the encoder after the others have left the run.
    joined.barrier()


def _require_unlabelled(settings: FinetuneSettings) -> None:
    """Raise a `UserError` where every recording has a class."""
    if "" not in read_classes(read_manifest(settings.data.train), settings.column):
        raise UserError(
            f"pseudo_labels.confidence={settings.pseudo_labels.confidence:g} is set, but every recording of "
            f"{settings.data.train} has a {settings.column}: there is none to give a pseudo-label"
        )


def _any_kept(table: Path) -> bool:
    return any(row["outcome"] == KEPT for row in read_table(table, ["outcome"]))


def _require_no_run(learnt: Path) -> None:
    """Raise a `UserError` where there is a second step of earlier pseudo-labels: the third would start from it."""
    if learnt.is_dir():
        raise UserError(
            f"{learnt} holds a run on other pseudo-labels, and none is kept now: use another out=, or delete it"
        )


def _write_pseudo_labels(settings: PseudoLabelSettings) -> None:
    """Write the pseudo-labels and what the second step learns, unless they are there."""
    out = Path(settings.out)
    inputs = [checksum(file) for file in pseudo_label_inputs(settings) if file.is_file()]
    made_of = {"confidence": settings.confidence, "neighbours": settings.neighbours, "inputs": inputs}
    done = out / "made_of.json"
    if done.is_file() and read_json(done) == made_of:
        return
    found = find_pseudo_labels(settings)
    found.write(out)
    write_json(done, made_of)
    for line in found.summary():
        log.info("%s", line)
    if not found.kept:
        log.warning("none of %d pseudo-labels is kept, %s says why", len(found.judged.rows), out / TABLE)


class Finetuning(ClipTraining):
    """An encoder that learns the classes of a metadata column."""

    settings: FinetuneSettings
    labels: Labels
    valid_labels: Labels
    keeps_held_out = False

    def __init__(self, settings: FinetuneSettings) -> None:
        super().__init__(settings)
        train, valid = (self._keep_labelled(data) for data in (self.train, self.valid))
        self.classes = sorted(set(train))
        if len(self.classes) < 2:
            raise UserError(
                f"all recordings of {self.train.manifest.file} with a {settings.column} have one, '{self.classes[0]}': "
                "there is nothing to tell apart"
            )
        strange = sorted(set(valid) - set(train))
        if strange:
            raise UserError(f"{self.valid.manifest.file} has a class that the training part lacks: {few(strange)}")
        self.labels, self.valid_labels = (class_numbers(cells, self.classes) for cells in (train, valid))
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

    def inputs(self) -> dict[str, str]:
        """Return manifests and classes with their checksums."""
        tables = [metadata_file(data.manifest.file) for data in (self.train, self.valid)]
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
