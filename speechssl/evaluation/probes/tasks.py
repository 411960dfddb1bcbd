"""What a probing task is, and the scores it gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from speechssl.evaluation.extract import Hidden, Request
from speechssl.models.encoder import Encoder

Metric = Callable[[list[str], list[str]], float]
"""Predictions and truth to a score."""


@dataclass
class Score:
    """What one encoder (one seed) reached in one task."""

    layers: list[float] | None = None
    """The test score of each layer, the input of the first layer included."""
    best: float | None = None
    """The test score of the layer that the dev part chose."""
    best_layer: int | None = None
    """That layer; with folds, the one chosen most often."""
    weighted: float | None = None
    """The test score of the softmax-weighted sum of all layers."""
    layer_weights: list[float] | None = None
    """Its weights."""
    value: float | None = None
    """The score of a task that has no layers."""
    details: dict[str, Any] = field(default_factory=dict)
    """More numbers, e.g. dev scores, chosen regularisation, other metrics."""

    def to_json(self) -> dict[str, Any]:
        """Return what there is."""
        return {key: value for key, value in asdict(self).items() if value not in (None, {})}


class Task(Protocol):
    """One column of the results."""

    name: str
    """Key in the results, e.g. `language`."""
    description: dict[str, Any]
    """What is measured on what, for the results: `metric`, `better`, sizes, how the parts are divided ..."""

    def requests(self) -> Iterable[Request]:
        """Return what the task needs of the recordings."""
        ...

    def score(self, hidden: Hidden, encoder: Encoder) -> Score:
        """Return the score of an encoder whose hidden states were extracted."""
        ...


def accuracy(predicted: list[str], truth: list[str]) -> float:
    """Return the share of right predictions."""
    return sum(a == b for a, b in zip(predicted, truth, strict=True)) / len(truth)


def macro_recall(predicted: list[str], truth: list[str]) -> float:
    """Return the balanced accuracy: the mean over the true classes of the share of each that is recognised."""
    counts = Counter(truth)
    right = Counter(b for a, b in zip(predicted, truth, strict=True) if a == b)
    return sum(right[name] / count for name, count in counts.items()) / len(counts)


def most_frequent_share(truth: list[str], train: list[str]) -> float:
    """Return the accuracy of always saying the most frequent class of the training part."""
    guess = max(sorted(set(train)), key=Counter(train).__getitem__)
    return truth.count(guess) / len(truth)


def commonest(values: list[int]) -> int:
    """Return the value that occurs most often; the smallest of several."""
    return max(sorted(set(values)), key=values.count)
