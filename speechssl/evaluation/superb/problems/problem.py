"""What training and scoring need to know of a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from speechssl.evaluation.superb.data import TaskData, Utterance


class Problem(Protocol):
    """One task on one data set."""

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

    def head(self, dim: int) -> nn.Module:
        """Return a new head on features of `dim` numbers: `(batch, frames, dim)` and lengths `(batch,)` in."""
        ...

    def loss(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]) -> Tensor:
        """Return the loss of a batch."""
        ...

    def predict(self, head: nn.Module, features: Tensor, lengths: Tensor) -> list[Any]:
        """Return what the head says of each utterance: something that JSON can hold."""
        ...

    def scores(self, predictions: Sequence[Any], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return the scores of predictions, all between 0 and 1 unless said otherwise."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what a reader of the results should know of the task's labels."""
        ...


MakeProblem = Callable[[TaskData, Sequence[str]], Problem]
"""Makes a problem of the data and its label columns; a label that training does not have is a `UserError`."""
