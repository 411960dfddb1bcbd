"""The shallow network of HEAR on frozen features, and its training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from speechssl.errors import UserError

Found = TypeVar("Found")
_BATCH = 8192
"""Examples at once where nothing is learnt."""


@dataclass(frozen=True)
class Point:
    """One point of the grid of settings that are chosen on validation."""

    hidden_layers: int
    lr: float


@dataclass(frozen=True)
class HeadOptions:
    """How networks are trained, whatever the point."""

    multilabel: bool
    """Whether an example may have several classes or none."""
    hidden_dim: int
    dropout: float
    batch_size: int
    epochs: int
    """At most."""
    check_every: int
    """Epochs between looks at the validation part."""
    patience: int
    """Looks without a better result after which training ends."""
    device: torch.device


@dataclass(frozen=True)
class Examples:
    """What a network learns from."""

    features: Tensor
    """`(all examples, dim)`, float32, on the CPU."""
    rows: Tensor
    """`(examples,)`: which of them."""
    targets: Tensor
    """`(examples, classes)`: 0 or 1."""


@dataclass(frozen=True)
class Judged(Generic[Found]):
    """What a look at the validation part gave."""

    value: float
    """More is better."""
    found: Found
    """What else the look chose."""


@dataclass(frozen=True)
class Trained(Generic[Found]):
    """The best network of a run."""

    head: nn.Sequential
    epoch: int
    """From 1."""
    judged: Judged[Found]


def new_head(dim: int, classes: int, point: Point, options: HeadOptions) -> nn.Sequential:
    """Return the network of hear-eval-kit (`FullyConnectedPrediction`) with new weights.

    Each hidden layer is linear, batch normalisation, dropout, ReLU; then a linear layer gives the logits `(batch,
    classes)` of features `(batch, dim)`. Weights are Glorot's uniform ones, with a gain of sqrt(2) behind a ReLU.
    """
    layers: list[nn.Module] = []
    width, gain = dim, 1.0
    for _ in range(point.hidden_layers):
        layers += [_linear(width, options.hidden_dim, gain), nn.BatchNorm1d(options.hidden_dim)]
        layers += [nn.Dropout(options.dropout), nn.ReLU()]
        width, gain = options.hidden_dim, nn.init.calculate_gain("relu")
    return nn.Sequential(*layers, _linear(width, classes, gain))


def train_head(
    examples: Examples, point: Point, seed: int, options: HeadOptions, judge: Callable[[nn.Module], Judged[Found]]
) -> Trained[Found]:
    """Train a network by Adam, and return it as it was at its best look at the validation part.

    Examples are shuffled in every epoch (hear-eval-kit shuffles recordings once, and the frames of events not at all: a
    batch has some seconds of one recording there). The seed alone decides weights, dropout and
    order; torch's own random state is left as it was.

    Args:
        examples: of the training part.
        point: hidden layers and learning rate.
        seed: of this network.
        options: the rest.
        judge: looks at the validation part.
    """
    order = torch.Generator().manual_seed(seed)
    best: Trained[Found] | None = None
    waited = 0
    with torch.random.fork_rng(devices=[options.device] if options.device.type == "cuda" else []):
        torch.manual_seed(seed)
        dim, classes = examples.features.shape[1], examples.targets.shape[1]
        head = new_head(dim, classes, point, options).to(options.device)
        optimizer = torch.optim.Adam(head.parameters(), lr=point.lr)
        for epoch in range(1, options.epochs + 1):
            _learn(head, optimizer, examples, order, options)
            if epoch % options.check_every and epoch < options.epochs:
                continue
            judged = judge(head)
            if best is None or judged.value > best.judged.value:
                best, waited = Trained(copy.deepcopy(head), epoch, judged), 0
            else:
                waited += 1
                if waited == options.patience:
                    break
    assert best is not None
    return best


def loss_of(logits: Tensor, targets: Tensor, multilabel: bool) -> Tensor:
    """Return the mean binary cross-entropy, or, where an example has one class, the mean cross-entropy."""
    if multilabel:
        return functional.binary_cross_entropy_with_logits(logits, targets)
    return functional.cross_entropy(logits, targets.argmax(dim=1))


@torch.no_grad()
def logits_of(head: nn.Module, features: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """Return `(examples, classes)` on the CPU; the network is in evaluation mode afterwards."""
    head.eval()
    return torch.cat([head(features[chosen].to(device)).cpu() for chosen in rows.split(_BATCH)])


def probabilities(logits: Tensor, multilabel: bool) -> npt.NDArray[np.float32]:
    """Return those of each class: on its own, or summing to one over the classes."""
    return (logits.sigmoid() if multilabel else logits.softmax(dim=1)).numpy()


def grid(hidden_layers: Sequence[int], lr: Sequence[float]) -> list[Point]:
    """Return all points to choose from."""
    return [Point(layers, rate) for layers in hidden_layers for rate in lr]


def _learn(
    head: nn.Module, optimizer: torch.optim.Optimizer, examples: Examples, order: torch.Generator, options: HeadOptions
) -> None:
    """Pass over the examples once."""
    head.train()
    for chosen in _batches(torch.randperm(len(examples.rows), generator=order), options.batch_size):
        logits = head(examples.features[examples.rows[chosen]].to(options.device))
        loss = loss_of(logits, examples.targets[chosen].to(options.device), options.multilabel)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _batches(order: Tensor, size: int) -> Iterator[Tensor]:
    """Yield the batches; one example at the end joins the batch before it, since it cannot be normalised alone."""
    if len(order) < 2:
        raise UserError("the training part has one example, which is too few to learn from")
    ends = list(range(size, len(order) - 1, size))
    yield from order.tensor_split(ends)


def _linear(width: int, out: int, gain: float) -> nn.Linear:
    layer = nn.Linear(width, out)
    nn.init.xavier_uniform_(layer.weight, gain=gain)
    return layer
