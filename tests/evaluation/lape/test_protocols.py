"""The sound protocol never looks at the test part before the last evaluation; the paper's takes the largest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score

from speechssl.evaluation.lape import protocols, scores
from speechssl.evaluation.lape.data import TaskData
from speechssl.evaluation.lape.heads import Examples, train_heads
from speechssl.evaluation.lape.protocols import paper, sound
from speechssl.evaluation.lape.settings import LapeSettings, LapeTask, Protocol, Split
from speechssl.evaluation.lape.splits import Division
from speechssl.evaluation.recordings import Recording
from tests.evaluation.lape.test_heads import all_rows, blobs, options

TRAIN, VALID, TEST = np.arange(0, 60), np.arange(60, 90), np.arange(90, 150)


def settings(**changes: object) -> LapeSettings:
    task = LapeTask("t", "folder", column="class", clip_seconds=1.0, split=Split.official)
    given = {"lr": [1e-3, 1e-2], "epochs": 6, "seeds": [1, 2], **changes}
    return LapeSettings(task, "out", {}, data_dir="data", **given)


def task_data(labels: torch.Tensor) -> TaskData:
    recordings = [Recording(f"{row:03d}", Path(), 16000, "train", {}) for row in range(len(labels))]
    return TaskData(recordings, labels.numpy().copy(), ["a", "b", "c"])


class Watched:
    """Features that note when a clip of the test part is looked at."""

    def __init__(self, features: torch.Tensor, events: list[str]) -> None:
        self._features = features
        self._events = events
        self.device = features.device

    def __getitem__(self, rows: np.ndarray) -> torch.Tensor:
        if set(rows.tolist()) & set(TEST.tolist()):
            self._events.append("test part read")
        return self._features[rows]


def score(all_examples: Examples, changed: LapeSettings, watched: Any = None) -> list[scores.Score]:
    division = Division("official", TRAIN, VALID, TEST, "official")
    features = all_examples.features if watched is None else watched
    return list(scores.score_features(features, task_data(all_examples.labels), [division], changed))


def test_sound_reads_the_test_part_once_and_only_after_all_heads_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def noting(*arguments: Any) -> Any:
        for heads in train_heads(*arguments):
            yield heads
            events.append("epoch")

    monkeypatch.setattr(protocols, "train_heads", noting)
    examples = blobs(150)
    score(examples, settings(), Watched(examples.features, events))
    assert events == ["epoch"] * 6 + ["test part read"]
    events.clear()
    score(examples, settings(protocol=Protocol.paper, lr=[1e-3]), Watched(examples.features, events))
    assert events == ["test part read"] + ["epoch"] * 6  # so the spy would have seen it


def test_shuffled_test_labels_change_no_weight_epoch_or_learning_rate_in_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[protocols.Chosen] = []
    choose = protocols.choose
    monkeypatch.setattr(protocols, "choose", lambda *arguments: chosen.append(choose(*arguments)) or chosen[-1])
    examples = blobs(150)
    labels = examples.labels.clone()
    labels[TEST] = labels[TEST].flip(0).roll(7)
    assert not torch.equal(labels, examples.labels)
    once, again = score(examples, settings()), score(Examples(examples.features, labels), settings())
    first, second = chosen
    assert torch.equal(first.heads.weights, second.heads.weights)
    assert torch.equal(first.heads.biases, second.heads.biases)
    assert torch.equal(first.epoch, second.epoch) and torch.equal(first.lr, second.lr)
    for one, other in zip(once, again, strict=True):
        assert torch.equal(one.parts[0].outcome.predictions, other.parts[0].outcome.predictions)
        assert one.to_json()["accuracy"] != other.to_json()["accuracy"]


def by_hand(train: Examples, judge: Examples, lrs: list[float]) -> list[list[tuple[int, float, int, float]]]:
    """Return right predictions, minus the loss, epoch and learning rate of every candidate, for each seed."""
    found: list[list[tuple[int, float, int, float]]] = [[], [], []]
    for lr in lrs:
        alone = train_heads(train, all_rows(train, 3), options(epochs=8, lr=[lr]))
        for epoch, (heads,) in enumerate(alone, start=1):
            for seed in range(3):
                logits = judge.features @ heads.weights[seed] + heads.biases[seed]
                loss = torch.nn.functional.cross_entropy(logits, judge.labels).item()
                right = round(accuracy_score(judge.labels, logits.argmax(dim=1)) * len(judge.labels))
                found[seed].append((right, -loss, epoch, lr))
    return found


def test_sound_reports_what_is_best_on_validation() -> None:
    examples = blobs(150, spread=6.0)
    train, valid, test = (Examples(examples.features[rows], examples.labels[rows]) for rows in (TRAIN, VALID, TEST))
    outcomes = sound(train, all_rows(train, 3), valid, lambda: test, options(epochs=8, lr=[1e-3, 1e-1]))
    for outcome, candidates in zip(outcomes, by_hand(train, valid, [1e-3, 1e-1]), strict=True):
        right, _, epoch, lr = max(candidates)
        assert (outcome.epoch, outcome.lr, outcome.valid_accuracy) == (epoch, lr, pytest.approx(right / 30))


def test_paper_reports_the_maximum_over_epochs_of_the_test_accuracy() -> None:
    examples = blobs(150, spread=6.0)
    train, valid, test = (Examples(examples.features[rows], examples.labels[rows]) for rows in (TRAIN, VALID, TEST))
    found = paper(train, all_rows(train, 3), test, options(epochs=8, lr=[1e-1]))
    fair = sound(train, all_rows(train, 3), valid, lambda: test, options(epochs=8, lr=[1e-1]))
    for outcome, other, candidates in zip(found, fair, by_hand(train, test, [1e-1]), strict=True):
        largest = max(right for right, *_ in candidates)
        assert accuracy_score(test.labels, outcome.predictions) == pytest.approx(largest / 60)
        assert accuracy_score(test.labels, other.predictions) <= largest / 60
        assert outcome.valid_accuracy is None
