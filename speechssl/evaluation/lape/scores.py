"""From features to scores: heads of all seeds, label fractions and divisions of one encoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechssl.evaluation.lape.data import TaskData
from speechssl.evaluation.lape.heads import Examples, HeadOptions
from speechssl.evaluation.lape.loki import Distances, loki, mean_distance
from speechssl.evaluation.lape.protocols import Outcome, paper, sound
from speechssl.evaluation.lape.settings import LapeSettings, Protocol
from speechssl.evaluation.lape.splits import Division, Rows, labelled_rows
from speechssl.evaluation.linear import statistics

Confusion = npt.NDArray[np.int64]
"""`(classes, classes)` counts: true class, predicted class."""

KINDS = ("accuracy", "balanced_accuracy", "mean_distance", "loki_accuracy", "loki_mean_distance")
"""What is measured; all but the first two where classes have distances."""


@dataclass(frozen=True)
class PartScore:
    """One head on one division."""

    division: str
    """Its name."""
    train: int
    """Clips that the head learnt from."""
    outcome: Outcome
    """Predictions, and what was chosen."""
    truth: Rows
    """`(test clips,)` classes of the test part."""
    pseudo_labels: int | None = None
    """Clips whose pseudo-label was learnt before; None where there was no such step."""

    @property
    def confusion(self) -> Confusion:
        """Of the test part."""
        return self._counted(self.outcome.predictions.numpy())

    def to_json(self, distances: Distances | None) -> dict[str, Any]:
        """Return the numbers; predictions are in the confusion matrix.

        Args:
            distances: of the classes, where they have some: adds how far wrong predictions are, and Loki's.
        """
        numbers: dict[str, Any] = {
            "name": self.division,
            "train": self.train,
            "pseudo_labels": self.pseudo_labels,
            "lr": self.outcome.lr,
            "epoch": self.outcome.epoch,
            "valid_accuracy": self.outcome.valid_accuracy,
            "accuracy": accuracy(self.confusion),
            "balanced_accuracy": balanced_accuracy(self.confusion),
        }
        if distances is not None:
            numbers |= self._distant(distances)
        return {key: value for key, value in numbers.items() if value is not None}

    def _distant(self, distances: Distances) -> dict[str, float]:
        posteriors = self.outcome.logits.double().softmax(dim=1).numpy()
        by_loki = self._counted(loki(posteriors, distances))
        return {
            "mean_distance": mean_distance(self.confusion, distances),
            "loki_accuracy": accuracy(by_loki),
            "loki_mean_distance": mean_distance(by_loki, distances),
        }

    def _counted(self, predictions: Rows) -> Confusion:
        return count_confusion(self.truth, predictions, self.outcome.logits.shape[1])


@dataclass(frozen=True)
class Score:
    """One seed of the head, with one label fraction: the mean over the divisions."""

    seed: int
    """Of the head."""
    label_fraction: float
    """Part of the training labels."""
    parts: list[PartScore]
    """One a division."""

    @property
    def confusion(self) -> Confusion:
        """The sum over the divisions."""
        return np.sum([part.confusion for part in self.parts], axis=0)

    def to_json(self, distances: Distances | None = None) -> dict[str, Any]:
        """Return what was measured in each division, and means; see :meth:`PartScore.to_json`."""
        parts = [part.to_json(distances) for part in self.parts]
        means = {kind: float(np.mean([part[kind] for part in parts])) for kind in KINDS if kind in parts[0]}
        return {"seed": self.seed, "label_fraction": self.label_fraction, **means, "parts": parts}


def accuracy(confusion: Confusion) -> float:
    """Return the share of right predictions."""
    return float(np.trace(confusion) / confusion.sum())


def balanced_accuracy(confusion: Confusion) -> float:
    """Return the mean over the true classes of the share of each that is recognised."""
    there = confusion.sum(axis=1) > 0
    return float(np.mean(np.diag(confusion)[there] / confusion.sum(axis=1)[there]))


def score_features(
    features: Tensor, data: TaskData, divisions: Sequence[Division], settings: LapeSettings
) -> Iterator[Score]:
    """Yield a score for each label fraction and seed.

    Args:
        features: `(clips, dim)`, in the order of `data`.
        data: the clips and their classes.
        divisions: with validation parts in the protocol `sound`.
        settings: of the command.
    """
    for fraction in settings.label_fractions:
        seeds: list[list[PartScore]] = [[] for _ in settings.seeds]
        for division in divisions:
            for parts, score in zip(seeds, _score_division(features, data, division, fraction, settings), strict=True):
                parts.append(score)
        yield from (Score(seed, fraction, parts) for seed, parts in zip(settings.seeds, seeds, strict=True))


def _score_division(
    features: Tensor, data: TaskData, division: Division, fraction: float, settings: LapeSettings
) -> Iterator[PartScore]:
    labels = torch.from_numpy(data.labels).to(features.device)
    options = HeadOptions(len(data.classes), settings.seeds, settings.lr, settings.passes, settings.batch_size)
    mean, scale = _scaling(features[division.train], settings.standardised)

    def part(rows: Rows) -> Examples:
        return Examples((features[rows] - mean) / scale, labels[rows])

    position = {row: number for number, row in enumerate(division.train.tolist())}
    samples = [labelled_rows(division.train, data, fraction, seed) for seed in settings.seeds]
    learnt = torch.tensor([[position[row] for row in rows.tolist()] for rows in samples])
    train = part(division.train)
    if settings.protocol is Protocol.paper:
        outcomes = paper(train, learnt, part(division.test), options)
    else:
        outcomes = sound(train, learnt, part(division.valid), lambda: part(division.test), options)
    for outcome in outcomes:
        yield PartScore(division.name, learnt.shape[1], outcome, data.labels[division.test])


def _scaling(train: Tensor, standardised: bool) -> tuple[Tensor, Tensor]:
    """Return what to subtract and what to divide by, `(1, dim)` each."""
    if not standardised:
        return torch.zeros_like(train[:1]), torch.ones_like(train[:1])
    mean, scale = statistics(train.unsqueeze(0))
    return mean[0], scale[0]


def count_confusion(truth: Rows, predicted: Rows, classes: int) -> Confusion:
    """Return the confusion matrix of class indices."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)
