"""From a task and its features to scores: networks of all seeds and divisions of one encoder.

Hidden layers, learning rate, epoch and postprocessing are chosen for each division on its own validation part.
hear-eval-kit chooses layers and rate for all folds on the validation part of the first, a fold that it tests later; and
it tries eight points drawn from sixteen (two layers, four rates, two initialisations), where the eight of the uniform
initialisation are tried here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from speechssl.evaluation.hear.data import Division, Metadata
from speechssl.evaluation.hear.heads import Examples, HeadOptions, Judged, Point, Trained, grid, logits_of, train_head
from speechssl.evaluation.hear.settings import HearSettings
from speechssl.evaluation.hear.tasks import Choice, Scores, Task
from speechssl.models.device import pick_device

EPOCHS = 500
CHECK_EVERY = {False: 3, True: 10}
"""Epochs between looks at the validation part, for scenes and for events, where a task says nothing."""


@dataclass(frozen=True)
class PartScore:
    """One network on one division."""

    division: str
    """Its name."""
    point: Point
    """What was chosen on validation, as all of the following but the scores."""
    epoch: int
    """From 1."""
    valid: float
    """The score that decided, more is better: less an error rate or a loss; minus infinity where there was none."""
    choice: Choice
    """Postprocessing of an event task."""
    scores: Scores
    """Of the test part."""

    def to_json(self) -> dict[str, Any]:
        """Return the numbers."""
        valid = self.valid if math.isfinite(self.valid) else None
        chosen = {**dataclasses.asdict(self.point), "epoch": self.epoch, "valid": valid}
        if self.choice is not None:
            chosen |= self.choice._asdict()
        return {"name": self.division, "chosen": chosen, **self.scores}


@dataclass(frozen=True)
class Score:
    """One seed: the mean over the divisions."""

    seed: int
    parts: list[PartScore]

    def to_json(self) -> dict[str, Any]:
        """Return mean scores (`None` where a division has none) and those of each division."""
        means = {name: _mean([part.scores[name] for part in self.parts]) for name in self.parts[0].scores}
        return {"seed": self.seed, **means, "parts": [part.to_json() for part in self.parts]}


def score_task(
    task: Task, divisions: Sequence[Division], metadata: Metadata, settings: HearSettings
) -> Iterator[Score]:
    """Yield the score of each seed.

    Args:
        task: with the features of an encoder.
        divisions: what is learnt from, chosen on and tested.
        metadata: of the task.
        settings: of the command.
    """
    options = head_options(metadata, settings)
    points = grid(settings.hidden_layers, settings.lr)
    for seed in settings.seeds:
        yield Score(seed, [_score_division(task, division, points, seed, options) for division in divisions])


def head_options(metadata: Metadata, settings: HearSettings) -> HeadOptions:
    """Return how networks are trained: the settings, the task's own numbers where they are null, else the kit's."""
    training = metadata.training
    return HeadOptions(
        multilabel=metadata.multilabel,
        hidden_dim=settings.hidden_dim,
        dropout=settings.dropout,
        batch_size=settings.batch_size,
        epochs=settings.epochs or training.get("max_epochs", EPOCHS),
        check_every=settings.check_every or training.get("check_val_every_n_epoch", CHECK_EVERY[metadata.events]),
        patience=settings.patience,
        device=pick_device(settings.device),
    )


def _score_division(
    task: Task, division: Division, points: Sequence[Point], seed: int, options: HeadOptions
) -> PartScore:
    """Choose on validation; after that, and never before, look at the test part once."""
    point, trained = _choose(task, division, points, seed, options)
    valid = logits_of(trained.head, task.features, task.rows(division.valid), options.device)
    choice = task.settle(valid, division.valid, trained.judged.found)
    test = logits_of(trained.head, task.features, task.rows(division.test), options.device)
    scores = task.scores(test, division.test, choice)
    return PartScore(division.name, point, trained.epoch, trained.judged.value, choice, scores)


def _choose(
    task: Task, division: Division, points: Sequence[Point], seed: int, options: HeadOptions
) -> tuple[Point, Trained[Choice]]:
    """Train at every point, and return the first of those that are best on validation."""
    examples = Examples(task.features, task.rows(division.train), task.targets(division.train))
    rows = task.rows(division.valid)

    def judge(head: nn.Module) -> Judged[Choice]:
        return Judged(*task.judge(logits_of(head, task.features, rows, options.device), division.valid))

    runs = ((point, train_head(examples, point, seed, options, judge)) for point in points)
    return max(runs, key=lambda run: run[1].judged.value)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
