"""Linear heads on frozen features: softmax regression by Adam, a head for each seed and learning rate, side by side."""

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
    """The weights of all seeds, of one learning rate."""

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
    """Learning rates of Adam to choose from; each is constant, and has heads of its own."""
    epochs: int
    """Passes over the training examples."""
    batch_size: int
    """Examples in an update; the last one of an epoch may have fewer."""


def train_heads(train: Examples, rows: Tensor, options: HeadOptions) -> Iterator[list[Heads]]:
    """Train, and after every epoch yield the heads of each learning rate; they change in place.

    All heads are one batched product, and none touches another. A seed alone decides its initial weights (uniform, as
    torch's `nn.Linear`) and the order of its examples, so it gives the same head in any company. With these, the
    learning rates see the same examples: three of them together take little longer than one.

    Args:
        train: all examples of the training part.
        rows: `(seeds, examples)`: which of them each seed learns from.
        options: how heads are trained.
    """
    device = train.features.device
    rates = len(options.lr)
    generators = [torch.Generator().manual_seed(seed) for seed in options.seeds]
    start = _new_heads(train.features.shape[1], options.classes, generators, device)
    heads = [Heads(*(weight.clone().requires_grad_() for weight in start)) for _ in options.lr]
    optimizer = torch.optim.Adam([{"params": [*each], "lr": lr} for each, lr in zip(heads, options.lr, strict=True)])
    for _ in range(options.epochs):
        order = torch.stack([torch.randperm(rows.shape[1], generator=generator) for generator in generators])
        for chosen in rows.gather(1, order).to(device).split(options.batch_size, dim=1):
            # (seeds, batch, rates * classes)
            weights, biases = (torch.cat(each, dim=2) for each in zip(*heads, strict=True))
            logits = torch.baddbmm(biases, train.features[chosen], weights).view(-1, options.classes)
            targets = train.labels[chosen][..., None].expand(-1, -1, rates).flatten()
            # A sum over the heads of means over the batch: each has the gradient that it would have alone.
            loss = functional.cross_entropy(logits, targets, reduction="sum") / chosen.shape[1]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        yield [Heads(*(weight.detach() for weight in each)) for each in heads]


def _new_heads(dim: int, classes: int, generators: Sequence[torch.Generator], device: torch.device) -> Heads:
    drawn = torch.stack([torch.rand(dim + 1, classes, generator=generator) for generator in generators])
    weights = ((2 * drawn - 1) * dim**-0.5).to(device)
    return Heads(weights[:, :dim], weights[:, dim:])
