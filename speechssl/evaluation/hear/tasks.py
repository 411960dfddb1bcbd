"""The two kinds of tasks, for one encoder: what a network learns from, and how its predictions are scored.

Labels of a recording are looked at when they are asked for: those of the test part by the last `scores`, and no sooner.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from speechssl.evaluation.hear.data import TaskData
from speechssl.evaluation.hear.events import Event, Postprocessing, find_events, frame_targets, frame_times
from speechssl.evaluation.hear.heads import loss_of, probabilities
from speechssl.evaluation.hear.metrics import ERROR_RATES, event_scores, scene_score

WORST = float("-inf")
Choice = Postprocessing | None
"""What is chosen on validation beside the network: nothing, for scenes."""
Scores = dict[str, float | None]


class Task(Protocol):
    """What training and choosing need of a task."""

    features: Tensor
    """`(examples, dim)`, float32, on the CPU."""

    def rows(self, clips: Sequence[int]) -> Tensor:
        """Return the examples of recordings: positions in `features`."""

    def targets(self, clips: Sequence[int]) -> Tensor:
        """Return `(examples, classes)` of recordings: 0 or 1."""

    def judge(self, logits: Tensor, clips: Sequence[int]) -> tuple[float, Choice]:
        """Return how good predictions are (more is better), and what else was chosen for it.

        Args:
            logits: `(examples, classes)` of the recordings.
            clips: the recordings.
        """

    def settle(self, logits: Tensor, clips: Sequence[int], choice: Choice) -> Choice:
        """Return what is left to choose once the network is chosen."""

    def scores(self, logits: Tensor, clips: Sequence[int], choice: Choice) -> Scores:
        """Return all scores of predictions."""


@dataclass
class SceneTask:
    """Whole recordings: an example each."""

    data: TaskData
    features: Tensor

    def rows(self, clips: Sequence[int]) -> Tensor:
        """Return the recordings themselves."""
        return torch.tensor(clips)

    def targets(self, clips: Sequence[int]) -> Tensor:
        """Return the classes of the recordings."""
        targets = torch.zeros(len(clips), len(self.data.classes))
        for row, clip in enumerate(clips):
            for label in cast(Sequence[int], self.data.labels[clip]):
                targets[row, label] = 1.0
        return targets

    def judge(self, logits: Tensor, clips: Sequence[int]) -> tuple[float, Choice]:
        """Return the first score, or less the loss where the task wants it so."""
        metadata, targets = self.data.metadata, self.targets(clips)
        if metadata.choose_on_loss:
            return -float(loss_of(logits, targets, metadata.multilabel)), None
        value = scene_score(metadata.scores[0], probabilities(logits, metadata.multilabel), targets.numpy())
        return (WORST if value is None else value), None

    def settle(self, logits: Tensor, clips: Sequence[int], choice: Choice) -> Choice:
        """Return the choice: nothing is left."""
        return choice

    def scores(self, logits: Tensor, clips: Sequence[int], choice: Choice) -> Scores:
        """Return all scores of the task."""
        predictions, targets = probabilities(logits, self.data.metadata.multilabel), self.targets(clips).numpy()
        return {name: scene_score(name, predictions, targets) for name in self.data.metadata.scores}


class EventTask:
    """Sounds in time: every frame of every recording is an example.

    Args:
        data: of the task.
        states: `(frames, dim)` of each recording.
        frame_rate: frames a second.
    """

    def __init__(self, data: TaskData, states: Sequence[Tensor], frame_rate: float) -> None:
        self.data = data
        self.features = torch.cat(list(states))
        self._frames = [len(frames) for frames in states]
        self._starts = [0, *itertools.accumulate(self._frames)]
        self._rate = frame_rate
        grid = data.metadata.postprocessing
        self._grid = [
            Postprocessing(width, shortest)
            for width in grid.get("median_filter_ms", [0.0])
            for shortest in grid.get("min_duration", [0.0])
        ]

    def rows(self, clips: Sequence[int]) -> Tensor:
        """Return all frames of the recordings, one recording after the other."""
        return torch.cat([torch.arange(self._starts[clip], self._starts[clip + 1]) for clip in clips])

    def targets(self, clips: Sequence[int]) -> Tensor:
        """Return which classes sound in each frame."""
        classes = len(self.data.classes)
        return torch.cat(
            [frame_targets(self._truth(clip), frame_times(self._frames[clip], self._rate), classes) for clip in clips]
        )

    def judge(self, logits: Tensor, clips: Sequence[int]) -> tuple[float, Choice]:
        """Return the first score and the postprocessing that it is best with, or less the loss."""
        if self.data.metadata.choose_on_loss:
            return -float(loss_of(logits, self.targets(clips), multilabel=True)), None
        return self._best(logits, clips)

    def settle(self, logits: Tensor, clips: Sequence[int], choice: Choice) -> Choice:
        """Return the postprocessing: what a network that was chosen by its loss is best with."""
        if choice is not None:
            return choice
        return self._grid[0] if len(self._grid) == 1 else self._best(logits, clips)[1]

    def scores(self, logits: Tensor, clips: Sequence[int], choice: Choice) -> Scores:
        """Return all scores of the task."""
        assert choice is not None
        return self._scored(logits, clips, choice, self.data.metadata.scores)

    def _best(self, logits: Tensor, clips: Sequence[int]) -> tuple[float, Choice]:
        first = self.data.metadata.scores[0]
        best: tuple[float, Choice] = WORST, self._grid[0]
        for how in self._grid:
            value = self._scored(logits, clips, how, [first])[first]
            if value is not None:
                value = -value if first in ERROR_RATES else value
                best = max(best, (value, how), key=lambda pair: pair[0])
        return best

    def _scored(self, logits: Tensor, clips: Sequence[int], how: Postprocessing, names: Sequence[str]) -> Scores:
        predicted = logits.split([self._frames[clip] for clip in clips])
        found = [
            find_events(probabilities(part, multilabel=True), frame_times(len(part), self._rate), how)
            for part in predicted
        ]
        truth = [self._truth(clip) for clip in clips]
        return event_scores(names, found, truth, len(self.data.classes))

    def _truth(self, clip: int) -> Sequence[Event]:
        return cast(Sequence[Event], self.data.labels[clip])
