"""Linear probes: softmax regression on the hidden states of every layer at once, and on their weighted sum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_TOLERANCE = 1e-4


class Parts(NamedTuple):
    """Features and labels of three parts: one to learn from, one to choose settings on, one to report on."""

    train: Tensor
    """`(layers, examples, dim)`."""
    train_labels: Tensor
    """`(examples,)` class indices."""
    dev: Tensor
    dev_labels: Tensor
    test: Tensor
    test_labels: Tensor


class ProbeResult(NamedTuple):
    """What the probes of one task gave."""

    dev_accuracy: list[float]
    """Of each layer, at its best regularisation."""
    regularisation: list[float]
    """The one chosen for each layer, on the dev part."""
    predictions: Tensor
    """`(layers, test examples)` classes."""
    weighted_dev_accuracy: float
    weighted_predictions: Tensor
    """`(test examples,)` classes from the softmax-weighted sum."""
    layer_weights: list[float]
    """The softmax weights; they sum to one."""


def probe(parts: Parts, classes: int, grid: Sequence[float], iterations: int, steps: int, seed: int) -> ProbeResult:
    """Fit, choose the regularisation on the dev part, and predict the test part: each layer, and the weighted sum.

    Features are standardised by the statistics of the training part.

    Args:
        parts: features and labels.
        classes: number of classes.
        grid: weights of the squared norm to choose from.
        iterations: steps of the solver at most.
        steps: steps of Adam for the weighted sum.
        seed: for the order of its examples.
    """
    mean, scale = statistics(parts.train)
    train, dev, test = ((part - mean) / scale for part in (parts.train, parts.dev, parts.test))
    weights, biases = softmax_regression(train, parts.train_labels, classes, grid, iterations)
    dev_accuracy = _accuracies(dev, parts.dev_labels, weights, biases)
    best = dev_accuracy.argmax(dim=1)  # the first, so the strongest regularisation, among equals
    chosen = torch.arange(len(best))
    predictions = (test @ weights[chosen, best] + biases[chosen, best].unsqueeze(1)).argmax(dim=-1)
    summed = _WeightedSum(len(train), len(grid), train.shape[-1], classes)
    summed.fit(train, parts.train_labels, grid, steps, seed)
    summed_dev = [float((p == parts.dev_labels).float().mean()) for p in summed.predict(dev)]
    winner = int(np.argmax(summed_dev))
    return ProbeResult(
        dev_accuracy=dev_accuracy.amax(dim=1).tolist(),
        regularisation=[grid[index] for index in best.tolist()],
        predictions=predictions,
        weighted_dev_accuracy=summed_dev[winner],
        weighted_predictions=summed.predict(test)[winner],
        layer_weights=summed.layer_weights[winner].tolist(),
    )


def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation `(layers, 1, dim)`; a constant dimension has deviation 1.

    What varies by no more than rounding is constant; how large a layer's numbers are does not matter.
    """
    mean = features.mean(dim=1, keepdim=True)
    scale = features.std(dim=1, keepdim=True, correction=0)
    rounding = 1e-6 * features.abs().amax(dim=(1, 2), keepdim=True)
    return mean, torch.where(scale > rounding, scale, torch.ones_like(scale))


def softmax_regression(
    features: Tensor, labels: Tensor, classes: int, grid: Sequence[float], iterations: int
) -> tuple[Tensor, Tensor]:
    """Solve `min_W mean cross-entropy + g/2 |W|^2` for every layer and every `g` of the grid.

    The bias is not penalised. As scikit-learn's `LogisticRegression(C=1 / (g * examples))`.

    Böhning's bound (1992, "Multinomial logistic regression algorithm") gives a step that cannot overshoot: the
    Hessian is below `X'X / 2N + g`. In the axes of X'X that step is a division; Nesterov's momentum, started
    again where it points uphill (O'Donoghue and Candes, 2015), makes it fast. No line search, so no problem touches
    another, and the result does not depend on what is solved beside it.

    Args:
        features: `(layers, examples, dim)`, standardised.
        labels: `(examples,)` class indices.
        classes: number of classes.
        grid: weights of the squared norm.
        iterations: steps at most; ends sooner where no step moves a weight by much.

    Returns:
        `(layers, grid, dim, classes)` weights and `(layers, grid, classes)` biases.
    """
    solved = [_solve(layer, labels, classes, grid, iterations) for layer in features]
    return torch.stack([weights for weights, _ in solved]), torch.stack([biases for _, biases in solved])


def _solve(x: Tensor, labels: Tensor, classes: int, grid: Sequence[float], iterations: int) -> tuple[Tensor, Tensor]:
    """Solve one layer for the whole grid at once: the problems stand side by side as columns of one matrix."""
    examples, dim = x.shape
    gram = (x.T.double() @ x.double()) / examples
    spread, axes = torch.linalg.eigh(gram)
    axes = axes.float()
    # The bias is the weight of a column of ones, which is orthogonal to the standardised features.
    z = torch.cat([x @ axes, x.new_ones(examples, 1)], dim=1)
    penalty = torch.cat([torch.tensor(grid).expand(dim, -1), torch.zeros(1, len(grid))]).unsqueeze(-1)
    curvature = torch.cat([spread.clamp(min=0).float(), torch.ones(1)])[:, None, None] / 2
    step = 1 / (curvature + penalty + 1e-6)
    target = functional.one_hot(labels, classes).to(x.dtype).unsqueeze(1)
    weights = x.new_zeros(dim + 1, len(grid), classes)
    ahead, pace = weights, torch.ones(len(grid))
    for _ in range(iterations):
        logits = (z @ ahead.flatten(1)).view(examples, len(grid), classes)
        wrong = (logits.softmax(dim=-1) - target).flatten(1)
        gradient = (z.T @ wrong).view_as(ahead) / examples + penalty * ahead
        moved = ahead - step * gradient
        change = moved - weights
        uphill = (gradient * change).sum(dim=(0, 2)) > 0
        pace = torch.where(uphill, torch.ones_like(pace), pace)
        following = (1 + (1 + 4 * pace.square()).sqrt()) / 2
        momentum = ((pace - 1) / following)[:, None]
        ahead, weights, pace = moved + momentum * change, moved, following
        if float((change.abs() / step.clamp(max=1)).max()) < _TOLERANCE:
            break
    return torch.einsum("ij,jrk->rik", axes, weights[:-1]), weights[-1]


def _accuracies(features: Tensor, labels: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """Return `(layers, grid)` shares of right predictions."""
    logits = torch.einsum("lnd,lrdk->lrnk", features, weights) + biases.unsqueeze(2)
    return (logits.argmax(dim=-1) == labels).float().mean(dim=-1)


class _WeightedSum:
    """Softmax regression on the softmax-weighted sum of all layers, the weights learnt with it (SUPERB, 2105.01051).

    The sum is over standardised features, so that a layer of large numbers does not count more from the start. One
    model for each regularisation, side by side; Adam with a rate that falls to zero.
    """

    RATE = 1e-2
    BATCH = 512

    def __init__(self, layers: int, models: int, dim: int, classes: int) -> None:
        self.mixture = torch.zeros(models, layers, requires_grad=True)
        self.weights = torch.zeros(models, dim, classes, requires_grad=True)
        self.biases = torch.zeros(models, 1, classes, requires_grad=True)

    @property
    def layer_weights(self) -> Tensor:
        """`(models, layers)`."""
        return self.mixture.detach().softmax(dim=-1)

    def fit(self, features: Tensor, labels: Tensor, grid: Sequence[float], steps: int, seed: int) -> None:
        """Learn from `(layers, examples, dim)`."""
        penalty = torch.tensor(grid)
        parameters = [self.mixture, self.weights, self.biases]
        optimizer = torch.optim.Adam(parameters, lr=self.RATE)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for chosen in _batches(len(labels), self.BATCH, steps, seed):
            optimizer.zero_grad()
            logits = self._logits(features[:, chosen])
            target = labels[chosen].expand(len(grid), -1)
            entropy = functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum") / len(chosen)
            loss = entropy + (penalty * self.weights.square().sum(dim=(1, 2))).sum() / 2
            loss.backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def predict(self, features: Tensor) -> Tensor:
        """Return `(models, examples)` classes."""
        return self._logits(features).argmax(dim=-1)

    def _logits(self, features: Tensor) -> Tensor:
        layers, examples, dim = features.shape
        mixed = (self.mixture.softmax(dim=-1) @ features.reshape(layers, -1)).view(-1, examples, dim)
        return torch.baddbmm(self.biases, mixed, self.weights)


def _batches(examples: int, size: int, steps: int, seed: int) -> list[Tensor]:
    """Return indices for each step: shuffled passes over the examples, cut into batches."""
    generator = torch.Generator().manual_seed(seed)
    size = min(size, examples)
    passes = math.ceil(steps / (examples // size))
    batches: list[Tensor] = []
    for _ in range(passes):
        batches += torch.randperm(examples, generator=generator).split(size)[: examples // size]
    return batches[:steps]
