"""Linear heads on frozen features: softmax regression by Adam, one head a seed, trained side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Examples(NamedTuple):
    """Features and classes of one part."""

    features: Tensor
    """`(examples, dim)`."""
    labels: Tensor
    """`(examples,)` class indices."""


class Heads(NamedTuple):
    """The weights of all seeds."""

    weights: Tensor
    """`(seeds, dim, classes)`."""
    biases: Tensor
    """`(seeds, 1, classes)`."""

    def logits(self, features: Tensor) -> Tensor:
        """Return `(seeds, examples, classes)` of `features` `(examples, dim)`."""
        return features @ self.weights + self.biases


@dataclass(frozen=True)
class HeadOptions:
    """How heads are trained."""

    classes: int
    """Number of classes."""
    seeds: Sequence[int]
    """One head each."""
    lr: Sequence[float]
    """Learning rates of Adam to choose from; each is constant."""
    epochs: int
    """Passes over the training examples."""
    batch_size: int
    """Examples in an update; the last one of an epoch may have fewer."""


def train_heads(train: Examples, rows: Tensor, options: HeadOptions, lr: float) -> Iterator[Heads]:
    """Train with one learning rate, and yield the heads after every epoch; they change in place.

    The heads of all seeds are one batched product, and none touches another. A seed alone decides its initial weights
    (uniform, as torch's `nn.Linear`) and the order of its examples, so it gives the same head in any company.

    Args:
        train: all examples of the training part.
        rows: `(seeds, examples)`: which of them each seed learns from.
        options: how heads are trained.
        lr: learning rate.
    """
    device = train.features.device
    generators = [torch.Generator().manual_seed(seed) for seed in options.seeds]
    heads = _new_heads(train.features.shape[1], options.classes, generators, device)
    optimizer = torch.optim.Adam(heads, lr=lr)
    for _ in range(options.epochs):
        order = torch.stack([torch.randperm(rows.shape[1], generator=generator) for generator in generators])
        for chosen in rows.gather(1, order).to(device).split(options.batch_size, dim=1):
            logits = torch.baddbmm(heads.biases, train.features[chosen], heads.weights)
            targets = train.labels[chosen].flatten()
            # A sum over the seeds of means over the batch: each seed has the gradient that it would have alone.
            loss = functional.cross_entropy(logits.flatten(0, 1), targets, reduction="sum") / chosen.shape[1]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield Heads(heads.weights.detach(), heads.biases.detach())


def _new_heads(dim: int, classes: int, generators: Sequence[torch.Generator], device: torch.device) -> Heads:
    drawn = torch.stack([torch.rand(dim + 1, classes, generator=generator) for generator in generators])
    weights = ((2 * drawn - 1) * dim**-0.5).to(device)
    return Heads(weights[:, :dim].contiguous().requires_grad_(), weights[:, dim:].contiguous().requires_grad_())
