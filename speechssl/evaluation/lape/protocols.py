"""Which of the heads is reported: the one chosen on validation (sound), or by the test part itself (paper).

LAPE's published scores are the largest test accuracy of all epochs. That is what `paper` gives; in both protocols a
frozen encoder is in evaluation mode and statistics come from the training part, which in released code they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from speechssl.evaluation.lape.heads import Examples, HeadOptions, Heads, train_heads


@dataclass(frozen=True)
class Chosen:
    """Heads, one a seed, and what speaks for each."""

    heads: Heads
    right: Tensor
    """`(seeds,)` right predictions of the part that they are chosen on."""
    loss: Tensor
    """`(seeds,)` mean cross-entropy there."""
    epoch: Tensor
    """`(seeds,)`, from 1."""
    lr: Tensor
    """`(seeds,)`."""

    def better_of(self, later: Chosen) -> Chosen:
        """Return for each seed the head with more right predictions, of equals that of the smaller loss."""
        wins = (later.right > self.right) | ((later.right == self.right) & (later.loss < self.loss))
        wide = wins[:, None, None]
        heads = Heads(*(torch.where(wide, new, old) for new, old in zip(later.heads, self.heads, strict=True)))
        numbers = [
            torch.where(wins, getattr(later, name), getattr(self, name)) for name in ("right", "loss", "epoch", "lr")
        ]
        return Chosen(heads, *numbers)


@dataclass(frozen=True)
class Outcome:
    """What one seed gave."""

    seed: int
    """Of the head."""
    lr: float
    """Learning rate of the reported head."""
    epoch: int
    """Epoch of the reported head, from 1."""
    logits: Tensor
    """`(test examples, classes)`, on the CPU; minus infinity for a class that was not learnt."""
    valid_accuracy: float | None
    """Of the reported head; none in the protocol `paper`."""

    @property
    def predictions(self) -> Tensor:
        """`(test examples,)` most probable classes."""
        return self.logits.argmax(dim=1)


def choose(train: Examples, rows: Tensor, judge: Examples, options: HeadOptions) -> Chosen:
    """Train heads with every learning rate, and return for each seed the one that is best on `judge` after any epoch.

    Args:
        train: training part.
        rows: `(seeds, examples)` training examples of each seed.
        judge: the part that decides: validation, or in the protocol `paper` the test part.
        options: how heads are trained.
    """
    best: Chosen | None = None
    for epoch, trained in enumerate(train_heads(train, rows, options), start=1):
        for lr, heads in zip(options.lr, trained, strict=True):
            found = _judged(heads, judge, epoch, lr)
            best = found if best is None else best.better_of(found)
    assert best is not None
    return best


def sound(
    train: Examples, rows: Tensor, valid: Examples, read_test: Callable[[], Examples], options: HeadOptions
) -> list[Outcome]:
    """Choose learning rate and epoch on validation; after that, and never before, ask for the test part once."""
    chosen = choose(train, rows, valid, options)
    return _outcomes(chosen, read_test(), options, (chosen.right / len(valid.labels)).tolist())


def paper(train: Examples, rows: Tensor, test: Examples, options: HeadOptions) -> list[Outcome]:
    """Report the epoch of the largest test accuracy, as the published scores do: too good, as all tables say."""
    return _outcomes(choose(train, rows, test, options), test, options, [None] * len(options.seeds))


@torch.no_grad()
def _judged(heads: Heads, part: Examples, epoch: int, lr: float) -> Chosen:
    logits = heads.logits(part.features)
    targets = part.labels.expand(len(logits), -1)
    right = (logits.argmax(dim=-1) == targets).sum(dim=1)
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    # Heads change in place from epoch to epoch.
    kept = Heads(heads.weights.clone(), heads.biases.clone())
    epochs = torch.full_like(right, epoch)
    return Chosen(kept, right, losses.mean(dim=1), epochs, torch.full_like(right, lr, dtype=torch.float64))


@torch.no_grad()
def _outcomes(
    chosen: Chosen, test: Examples, options: HeadOptions, valid_accuracy: Sequence[float | None]
) -> list[Outcome]:
    logits = chosen.heads.logits(test.features).cpu()
    lr, epoch = chosen.lr.tolist(), chosen.epoch.tolist()
    return [
        Outcome(seed, lr[row], epoch[row], logits[row], valid_accuracy[row]) for row, seed in enumerate(options.seeds)
    ]
