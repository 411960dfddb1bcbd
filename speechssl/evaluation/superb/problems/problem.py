"""What training and scoring need to know of a task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from speechssl.evaluation.superb.data import Utterance


@dataclass(frozen=True)
class Posteriors:
    """What SUPERB's leaderboard takes where that is too large for a report."""

    frame: int
    """Samples of a frame."""
    recordings: Mapping[str, npt.NDArray[np.float32]]
    """Name -> `(frames, classes)`."""


class Scorer(Protocol):
    """How predictions are counted, and what is kept of them."""

    def scores(self, predictions: Sequence[Any], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return the scores of predictions: shares, unless `units.py` names their unit.

        Some utterances of a part may be too few for a score, e.g. those of one speaker. It is then left out.
        """
        ...

    def count(self, utterances: Sequence[Utterance]) -> int:
        """Return how many utterances of the data these are."""
        return len(utterances)

    def report(self, predictions: Sequence[Any], utterances: Sequence[Utterance]) -> Mapping[str, Any]:
        """Return what a reader should see of the predictions, by name: something that JSON can hold."""
        return {utterance.name: said for utterance, said in zip(utterances, predictions, strict=True)}

    def posteriors(self, predictions: Sequence[Any], utterances: Sequence[Utterance]) -> Posteriors | None:
        """Return what the leaderboard takes in place of the report; None where it takes the report."""
        return None


class Problem(Scorer, Protocol):
    """One task on one data set."""

    min_frames: int = 1
    """Frames that the head needs of an utterance."""

    @property
    def pooled(self) -> bool:
        """Whether the head needs no more than the mean over time: what it does in front of its mean is linear."""
        ...

    @property
    def metrics(self) -> Sequence[str]:
        """Names of the scores; the first one decides."""
        ...

    @property
    def lower_is_better(self) -> bool:
        """Of the first score."""
        ...

    def pieces(self, part: str, utterances: Sequence[Utterance], frame_rate: float) -> Sequence[Utterance]:
        """Return what is encoded, learnt from and predicted in place of a part's utterances: these, unless cut."""
        return utterances

    def head(self, dim: int) -> nn.Module:
        """Return a new head on features of `dim` numbers: `(batch, frames, dim)` and lengths `(batch,)` in."""
        ...

    def loss(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]) -> Tensor:
        """Return the loss of a batch."""
        ...

    def weight(self, utterances: Sequence[Utterance]) -> float:
        """Return how much the loss of a part of a batch counts in that of the whole: as many as it is the mean of."""
        return len(utterances)

    def predict(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]) -> list[Any]:
        """Return what the head says of each utterance, on the CPU where it is a tensor."""
        ...

    def validation_scores(self, predictions: Sequence[Any], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return the scores by which a head is chosen: those of the test part, unless s3prl chooses by others."""
        return self.scores(predictions, utterances)

    def predict_test(
        self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]
    ) -> list[Any]:
        """Return the same of the test part, which is read once: what takes too long for validation is for it alone."""
        return self.predict(head, features, lengths, utterances)

    def test_scorer(self, validate: Callable[[], Sequence[Any]], valid: Sequence[Utterance]) -> Scorer:
        """Return what scores the test part.

        Args:
            validate: predicts the validation part by the chosen head, for what is tuned after training.
            valid: the utterances of that part.
        """
        return self

    def facts(self) -> dict[str, Any]:
        """Return what a reader of the results should know of the task's labels."""
        ...


def worth(problem: Problem, scores: Mapping[str, float]) -> float:
    """Return what a head is chosen by, its first score: more is better, and what is not finite is the worst."""
    first = scores[problem.metrics[0]]
    if not math.isfinite(first):
        return -math.inf
    return -first if problem.lower_is_better else first


MakeProblem = Callable[..., Problem]
"""Makes a problem of the data, its label columns and options of the task; a label that training does not have is a
`UserError`."""
