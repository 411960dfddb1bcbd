"""Fine-tuning in a task: encoder and linear classifier learn its classes together (LAPE's second protocol).

Every encoder, seed, label fraction and division is a run of its own, as `speechssl finetune` trains it. Below
`<out_dir>/<task>/finetune/` there is

- `<encoder>-<id>/start/`: the encoder that its runs start from; the id is a checksum, so another one has other runs
- `<encoder>-<id>/seed<S>-labels<F>-<division>/data/`: what is trained on (`train.tsv`) and what decides on the epoch
  (`valid.tsv`: validation, and the test part in the protocol `paper` only); for pseudo-labels `train.tsv` has the rest
  of the training part, too, without classes
- `<encoder>-<id>/seed<S>-labels<F>-<division>/run-lr<R>/`: the run folder, without checkpoints once it is finished
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechssl import __version__
from speechssl.data.manifest import read_manifest
from speechssl.errors import UserError
from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.lape.clips import Clips
from speechssl.evaluation.lape.data import TaskData
from speechssl.evaluation.lape.protocols import Outcome
from speechssl.evaluation.lape.results import LapeResults
from speechssl.evaluation.lape.scores import PartScore, Score
from speechssl.evaluation.lape.settings import LapeSettings, Protocol
from speechssl.evaluation.lape.splits import Division, Rows, labelled_rows
from speechssl.evaluation.lape.tuning_data import COLUMN, write_data
from speechssl.files import as_name, read_json
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.device import pick_device
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import load_encoder
from speechssl.models.save import save_encoder
from speechssl.progress import progress
from speechssl.threads import available_cores
from speechssl.training.clips.classifier import BEST, load_classifier, require_tunable
from speechssl.training.clips.finetune import finetune
from speechssl.training.clips.reader import epoch_updates
from speechssl.training.clips.settings import ClipDataSettings, FinetuneSettings, PredictionPretrainingSettings
from speechssl.training.device import Joined, compute_type, joined_gang
from speechssl.training.settings import OptimSettings, RunSettings, ScheduleKind, ScheduleSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What all runs of a task have in common."""

    settings: LapeSettings
    """Of the command."""
    data: TaskData
    """Clips and classes."""
    divisions: Sequence[Division]
    """With validation parts in the protocol `sound`."""
    clips: Clips
    """Reads the test part."""
    folder: Path
    """Where the runs are."""


@dataclass(frozen=True)
class Tuning:
    """Runs that differ in the learning rate only."""

    plan: Plan
    """What all have in common."""
    start: Path
    """Folder of the encoder that they start from."""
    seed: int
    """Of the classifier's weights, the order and places of the clips, and the sample of the labels."""
    label_fraction: float
    """Part of the training labels."""
    division: Division
    """What is trained, chosen and tested on."""

    @property
    def folder(self) -> Path:
        """Where data and runs are."""
        return self.start.parent / as_name(f"seed{self.seed}-labels{self.label_fraction:g}-{self.division.name}")

    @property
    def train(self) -> Rows:
        """Rows that are learnt from."""
        return labelled_rows(self.division.train, self.plan.data, self.label_fraction, self.seed)

    @property
    def unlabelled(self) -> Rows:
        """Rows whose class is not known: the rest of the training part, where pseudo-labels are asked for."""
        if self.plan.settings.finetune.pseudo_labels.confidence is None:
            return self.division.train[:0]
        return np.setdiff1d(self.division.train, self.train)

    @property
    def held_out(self) -> Rows:
        """Rows that decide on the epoch."""
        return self.division.test if self.plan.settings.protocol is Protocol.paper else self.division.valid

    @property
    def judge(self) -> Rows:
        """Those held out whose class is in train. The others are never right, so they decide nothing."""
        labels = self.plan.data.labels
        return self.held_out[np.isin(labels[self.held_out], labels[self.division.train])]

    @property
    def epoch_updates(self) -> int:
        """Updates of an epoch."""
        return epoch_updates(len(self.train), self.plan.settings.batch_size)

    def run(self, lr: float) -> Path:
        """Return the run folder of a learning rate."""
        return self.folder / f"run-lr{lr:g}"


def finetune_and_score(rivals: Sequence[Contestant], plan: Plan, results: LapeResults) -> bool:
    """Fine-tune all encoders with all seeds, label fractions and divisions; after that, test each once.

    Finished runs are left as they are, and interrupted ones go on. Processes that torchrun started share every run;
    the first one alone tests.

    Returns:
        Whether this process is the first.

    Raises:
        UserError: an encoder cannot be fine-tuned, or runs on other data are there.
    """
    starts = []
    with joined_gang(pick_device(plan.settings.device)) as joined, _quiet_training():
        first = joined.rank == 0
        for rival in rivals:
            starts.append(_save_start(rival, plan, joined))
            tunings = list(_tunings(plan, starts[-1]))
            for tuning in progress(tunings, f"fine-tuning {rival.source}", "run"):
                _train(tuning, rival, joined)
    if not first:
        return False
    for rival, start in zip(rivals, starts, strict=True):
        encoder = load_encoder(start)
        for score in _scores(plan, start):
            results.add(rival, encoder, score)
    return True


def _save_start(rival: Contestant, plan: Plan, joined: Joined) -> Path:
    """Keep the encoder as it is before the first update, whatever becomes of its own folder."""
    encoder = require_tunable(rival.build(), rival.source)
    start = plan.folder / f"{as_name(rival.name)}-{_checksum(encoder)}" / "start"
    if joined.rank == 0 and not (start / "encoder.json").is_file():
        save_encoder(start, encoder)
    return start


def _tunings(plan: Plan, start: Path) -> Iterator[Tuning]:
    """Yield the divisions of each seed, the seeds of each label fraction."""
    for fraction in plan.settings.label_fractions:
        for seed in plan.settings.seeds:
            for division in plan.divisions:
                yield Tuning(plan, start, seed, fraction, division)


def _train(tuning: Tuning, rival: Contestant, joined: Joined) -> None:
    """Train with every learning rate."""
    if joined.rank == 0:
        parts = {"train": np.union1d(tuning.train, tuning.unlabelled), "valid": tuning.judge}
        if not write_data(tuning.folder / "data", tuning.plan.data, parts, tuning.unlabelled):
            raise UserError(
                f"{tuning.folder} has a run on other data than the task's are now, or with other pseudo-labels: "
                f"delete {tuning.plan.folder}, or give another out_dir"
            )
    joined.barrier()
    for lr in tuning.plan.settings.lr:
        finetune(_run_settings(tuning, lr), joined)
    if joined.rank == 0:
        for lr in tuning.plan.settings.lr:
            for checkpoints in list(tuning.run(lr).rglob("checkpoints")):
                shutil.rmtree(checkpoints, ignore_errors=True)
        _, best = _best(tuning)
        logger.info(
            "%s (%s), seed %d, %g of the labels, %s: accuracy %.3f on what decides, after epoch %d",
            rival.name, rival.source, tuning.seed, tuning.label_fraction, tuning.division.name, best["accuracy"],
            best["step"] // tuning.epoch_updates,
        )  # fmt: skip


def _run_settings(tuning: Tuning, lr: float) -> FinetuneSettings:
    """Return the settings of a run: Adam at a constant rate, no augmentation, a validation an epoch."""
    settings, data = tuning.plan.settings, tuning.folder / "data"
    epoch = tuning.epoch_updates
    return FinetuneSettings(
        out=str(tuning.run(lr)),
        seed=tuning.seed,
        init_from=str(tuning.start),
        column=COLUMN,
        sla=settings.finetune.sla,
        pseudo_labels=settings.finetune.pseudo_labels if len(tuning.unlabelled) else PredictionPretrainingSettings(),
        clips=settings.batch_size,
        data=ClipDataSettings(
            train=str(data / "train.tsv"),
            valid=str(data / "valid.tsv"),
            seconds=settings.task.clip_seconds,
            workers=settings.workers or available_cores(),
            cache_gb=settings.cache_gb,
        ),
        optim=OptimSettings(lr=lr, beta2=0.999, eps=1e-8, weight_decay=0.0),
        schedule=ScheduleSettings(ScheduleKind.constant, epochs=settings.passes, warmup=0.0, cooldown=0.0, anneal=0.0),
        run=RunSettings(
            precision=settings.finetune.precision,
            device=settings.device,
            checkpoint_every=settings.finetune.checkpoint_every * epoch,
            validate_every=epoch,
            log_every=epoch,
        ),
    )


def _best(tuning: Tuning) -> tuple[float, dict[str, Any]]:
    """Return the learning rate that is best on what decides, and the `best.json` of its run."""
    found = [(lr, read_json(tuning.run(lr) / BEST / "best.json")) for lr in tuning.plan.settings.lr]
    return max(found, key=lambda each: (each[1]["accuracy"], -each[1]["loss"]))


def _scores(plan: Plan, start: Path) -> Iterator[Score]:
    """Yield a score for each label fraction and seed."""
    tunings = _tunings(plan, start)
    for fraction in plan.settings.label_fractions:
        for seed in plan.settings.seeds:
            yield Score(seed, fraction, [_score(next(tunings)) for _ in plan.divisions])


def _score(tuning: Tuning) -> PartScore:
    """Test the best weights of the best learning rate."""
    plan, test = tuning.plan, tuning.division.test
    lr, best = _best(tuning)
    valid_accuracy = None
    if plan.settings.protocol is Protocol.sound:
        valid_accuracy = best["accuracy"] * len(tuning.judge) / len(tuning.held_out)
    logits = _logits(plan, tuning.run(lr) / BEST, test)
    outcome = Outcome(tuning.seed, lr, best["step"] // tuning.epoch_updates, logits, valid_accuracy)
    pseudo_labels = _pseudo_labels(tuning, lr) if len(tuning.unlabelled) else None
    return PartScore(tuning.division.name, len(tuning.train), outcome, plan.data.labels[test], pseudo_labels)


def _pseudo_labels(tuning: Tuning, lr: float) -> int:
    """Return how many were learnt."""
    learnt = read_manifest(tuning.run(lr) / "pseudo_labels" / "train.tsv")
    return len(learnt.paths) - len(tuning.train)


@torch.no_grad()
def _logits(plan: Plan, best: Path, rows: Rows) -> Tensor:
    """Return `(rows, classes)`, in the number format and the batches of a validation."""
    device = pick_device(plan.settings.device)
    number_format = compute_type(plan.settings.finetune.precision, device)
    model, names = load_classifier(best)
    model.to(device)
    learnt = [plan.data.classes.index(name) for name in names]
    recordings = [plan.data.recordings[row] for row in rows.tolist()]
    found = []
    for batch in plan.clips.batches(recordings, plan.settings.batch_size):
        with torch.autocast(device.type, number_format, enabled=number_format is not torch.float32):
            found.append(model.logits(batch.to(device)).cpu())
    logits = torch.full((len(rows), len(plan.data.classes)), -torch.inf)
    logits[:, learnt] = torch.cat(found)
    return logits


@contextlib.contextmanager
def _quiet_training() -> Iterator[None]:
    """A line a run is enough: of what training says, warnings only."""
    training = logging.getLogger("speechssl.training")
    before = training.level
    training.setLevel(logging.WARNING)
    try:
        yield
    finally:
        training.setLevel(before)


def _checksum(encoder: HubertEncoder | ClipEncoder) -> str:
    """Return what tells encoders apart: of settings, weights, and the version that trains them."""
    digest = hashlib.sha256(f"{__version__} {encoder.config!r}".encode())
    for name, weight in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
