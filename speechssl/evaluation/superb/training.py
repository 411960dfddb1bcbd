"""Training of one head on stored hidden states. It goes on where a killed run stopped."""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from speechssl.errors import UserError
from speechssl.evaluation.superb.data import Utterance
from speechssl.evaluation.superb.head import WeightedHead
from speechssl.evaluation.superb.problems.problem import Problem, worth
from speechssl.evaluation.superb.states import Batch, States
from speechssl.files import whole_file
from speechssl.transfer import moved

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
_BATCHES_AT_ONCE = 50
"""Batches' worth of utterances that are sorted by length together, so that a batch has little padding."""

Say = Callable[[nn.Module, Tensor, Tensor, Sequence[Utterance]], list[Any]]
"""A problem's `predict` or `predict_test`."""


class DivergedError(UserError):
    """No update of a stretch of training had a finite gradient: the learning rate is too high."""


@dataclass(frozen=True)
class Plan:
    """How one head is trained."""

    lr: float
    """Learning rate."""
    seed: int
    steps: int
    batch_size: int
    check_every: int
    device: torch.device
    optimizer: str = "adam"
    """`adam` or `adamw`, otherwise as torch has them."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    warmup: int = 0
    """Updates in which the learning rate rises to `lr`; it then falls as in s3prl's `sqrt_decay_schedule_with_warmup`.
    0: constant."""
    passes: int = 1
    """Equal parts of a batch that go through the head one after the other, so that a large one takes little memory."""

    @property
    def at_once(self) -> int:
        """Utterances that go through the head at once."""
        return math.ceil(self.batch_size / self.passes)

    def parts(self, rows: Sequence[int]) -> list[Sequence[int]]:
        """Return the rows that go through the head one after the other."""
        return [rows[first : first + self.at_once] for first in range(0, len(rows), self.at_once)]

    def rate(self, step: int) -> float:
        """Return the learning rate of the update after `step` others."""
        if step < self.warmup:
            return self.lr * step / self.warmup
        return self.lr / math.sqrt(step) if self.warmup else self.lr


@dataclass(frozen=True)
class Part:
    """Utterances and their hidden states."""

    utterances: Sequence[Utterance]
    states: States
    balanced: str | None = None
    """Column whose values training draws equally often, with replacement; None: every utterance once an epoch."""

    def probabilities(self) -> npt.NDArray[np.float64] | None:
        """Return `(utterances,)`: how probable it is that the next one is drawn; None where nothing is drawn."""
        if self.balanced is None:
            return None
        values = [utterance.labels[self.balanced] for utterance in self.utterances]
        counts = Counter(values)
        return np.array([1 / (len(counts) * counts[value]) for value in values])


@dataclass(frozen=True)
class Trained:
    """The head as it was at its best look at the validation part."""

    head: WeightedHead
    step: int
    valid: dict[str, float]
    """Scores of the validation part at that step."""
    skipped: int
    """Updates whose gradient was not finite; they were left out."""


def train_head(problem: Problem, train: Part, valid: Part, shape: tuple[int, int], plan: Plan, saved: Path) -> Trained:
    """Train one head, and return it as it was when the first score of validation was best.

    The seed alone decides weights, dropout and order; torch's own random state is left as it was.

    Args:
        problem: the task.
        train: what is learnt from.
        valid: what the update is chosen on.
        shape: hidden states of a frame, and their width.
        plan: the rest.
        saved: where the state is kept between looks; taken away by the caller once the result is safe.

    Raises:
        DivergedError: every update of a stretch between two looks had a gradient that is not finite.
    """
    with torch.random.fork_rng(devices=[plan.device] if plan.device.type == "cuda" else []):
        run = _Run(problem, train, shape, plan)
        run.restore(saved)
        batches = _batches(train, plan, run.step)
        # From one look to the next: what is read ahead for training is not in memory beside the validation part.
        while stretch := list(itertools.islice(batches, plan.check_every - run.step % plan.check_every)):
            parts = (part for rows in stretch for part in plan.parts(rows))
            with contextlib.closing(train.states.batches(parts)) as read:
                for rows in stretch:
                    run.update(rows, read)
            run.look(valid)
            run.save(saved)
        return run.best()


@torch.no_grad()
def predict(say: Say, head: WeightedHead, part: Part, batch_size: int, device: torch.device) -> list[Any]:
    """Return what a problem says of all utterances, in their order. The head is in evaluation mode afterwards."""
    head.eval()
    found: list[Any] = [None] * len(part.utterances)
    order = np.argsort(part.states.frames, kind="stable").tolist()
    batches = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    with contextlib.closing(part.states.batches(batches)) as read:
        for rows, (states, lengths) in zip(batches, read, strict=True):
            utterances = [part.utterances[row] for row in rows]
            predictions = say(head, moved(states, device), lengths, utterances)
            for row, prediction in zip(rows, predictions, strict=True):
                found[row] = prediction
    return found


class _Run:
    """The state of one training."""

    def __init__(self, problem: Problem, train: Part, shape: tuple[int, int], plan: Plan) -> None:
        self._problem = problem
        self._train = train
        self._plan = plan
        torch.manual_seed(plan.seed)
        layers, dim = shape
        self._head = WeightedHead(layers, problem.head(dim)).to(plan.device)
        trained = [parameter for parameter in self._head.parameters() if parameter.requires_grad]
        self._optimizer = _OPTIMIZERS[plan.optimizer](trained, lr=plan.lr)
        self.step = 0
        self._skipped = 0
        self._skipped_before = 0
        self._best: dict[str, Any] = {}

    def update(self, rows: Sequence[int], read: Iterator[Batch]) -> None:
        """Learn from one batch, whose states come next of what is read."""
        self._head.train()
        self._optimizer.zero_grad()
        whole = self._problem.weight([self._train.utterances[row] for row in rows])
        for part in self._plan.parts(rows):
            self._learn(part, next(read), whole)
        for group in self._optimizer.param_groups:
            group["lr"] = self._plan.rate(self.step)
        norm = torch.nn.utils.clip_grad_norm_(self._head.parameters(), self._plan.clip)
        self.step += 1
        if bool(norm.isfinite()):
            self._optimizer.step()
        else:
            self._skipped += 1

    def _learn(self, rows: Sequence[int], batch: Batch, whole: float) -> None:
        """Add the gradient of some utterances of a batch that has the weight `whole`."""
        states, lengths = batch
        utterances = [self._train.utterances[row] for row in rows]
        loss = self._problem.loss(self._head, moved(states, self._plan.device), lengths, utterances)
        (loss * (self._problem.weight(utterances) / whole)).backward()

    def look(self, valid: Part) -> None:
        """Score the validation part, and keep the head if it is the best so far."""
        if self._skipped - self._skipped_before >= self._plan.check_every:
            told = f"no update until step {self.step} had a finite gradient; lr={self._plan.lr} is too high"
            raise DivergedError(told)
        self._skipped_before = self._skipped
        predictions = predict(self._problem.predict, self._head, valid, self._plan.at_once, self._plan.device)
        scores = self._problem.validation_scores(predictions, valid.utterances)
        value = worth(self._problem, scores)
        if not self._best or value > self._best["value"]:
            weights = copy.deepcopy(self._head.state_dict())
            self._best = {"value": value, "step": self.step, "scores": scores, "head": weights}

    def best(self) -> Trained:
        """Return the best head."""
        self._head.load_state_dict(self._best["head"])
        return Trained(self._head, self._best["step"], self._best["scores"], self._skipped)

    def save(self, file: Path) -> None:
        """Write all that training goes on from, whole or not at all."""
        state = {
            "step": self.step,
            "skipped": self._skipped,
            "head": self._head.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "random": torch.get_rng_state(),
        }
        if self._plan.device.type == "cuda":
            state["random_cuda"] = torch.cuda.get_rng_state(self._plan.device)
        with whole_file(file) as temporary:
            torch.save(state, temporary)

    def restore(self, file: Path) -> None:
        """Go on from a file of :meth:`save`, where there is one."""
        if not file.is_file():
            return
        state = torch.load(file, map_location="cpu", weights_only=True)
        self.step, self._skipped, self._best = state["step"], state["skipped"], state["best"]
        self._skipped_before = self._skipped
        self._head.load_state_dict(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        if self._plan.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"], self._plan.device)


def _batches(train: Part, plan: Plan, done: int) -> Iterator[list[int]]:
    """Yield the rows of every update after `done`; they depend on the seed and the update's number only."""
    probabilities = train.probabilities()
    epoch, step = 0, 0
    while True:
        for rows in _epoch(train.states.frames, probabilities, plan, epoch):
            if step >= plan.steps:
                return
            if step >= done:
                yield rows
            step += 1
        epoch += 1


def _epoch(
    frames: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64] | None, plan: Plan, epoch: int
) -> list[list[int]]:
    """Return as many rows as there are, in batches of similar length, the batches in a random order."""
    random = np.random.default_rng([plan.seed, epoch])
    if probabilities is None:
        order = random.permutation(len(frames))
    else:
        order = random.choice(len(frames), len(frames), p=probabilities)
    at_once = _BATCHES_AT_ONCE * plan.batch_size
    batches = []
    for first in range(0, len(order), at_once):
        block = order[first : first + at_once]
        block = block[np.argsort(frames[block], kind="stable")]
        batches += [block[row : row + plan.batch_size].tolist() for row in range(0, len(block), plan.batch_size)]
    return [batches[number] for number in random.permutation(len(batches))]
