"""Linear heads against torch's own modules, one at a time, and against scikit-learn's optimum."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from torch import nn

from speechssl.evaluation.lape.heads import Examples, HeadOptions, train_heads


def blobs(examples: int = 90, spread: float = 3.0) -> Examples:
    features, labels = make_blobs(examples, n_features=5, centers=3, cluster_std=spread, random_state=0)
    return Examples(torch.tensor(features).float() / 5, torch.tensor(labels))


def options(**changes: object) -> HeadOptions:
    return HeadOptions(**{"classes": 3, "seeds": [1, 2, 3], "lr": [1e-2], "epochs": 4, "batch_size": 32, **changes})


def all_rows(train: Examples, seeds: int) -> torch.Tensor:
    return torch.arange(len(train.labels)).expand(seeds, -1)


def trained(train: Examples, rows: torch.Tensor, settings: HeadOptions) -> tuple[torch.Tensor, torch.Tensor]:
    *_, (heads,) = train_heads(train, rows, settings)
    return heads


def test_a_seed_gives_the_head_of_torchs_linear_and_adam() -> None:
    train, settings = blobs(), options()
    rows = torch.stack(
        [torch.randperm(90, generator=torch.Generator().manual_seed(9 + seed))[:70] for seed in (1, 2, 3)]
    )
    weights, biases = trained(train, rows, settings)
    for index, seed in enumerate(settings.seeds):
        generator = torch.Generator().manual_seed(seed)
        start = (2 * torch.rand(6, 3, generator=generator) - 1) / 5**0.5
        linear = nn.Linear(5, 3)
        linear.load_state_dict({"weight": start[:5].T.clone(), "bias": start[5].clone()})
        optimizer = torch.optim.Adam(linear.parameters(), lr=1e-2)
        for _ in range(settings.epochs):
            for chosen in rows[index][torch.randperm(70, generator=generator)].split(32):
                optimizer.zero_grad()
                nn.CrossEntropyLoss()(linear(train.features[chosen]), train.labels[chosen]).backward()
                optimizer.step()
        torch.testing.assert_close(weights[index], linear.weight.T)
        torch.testing.assert_close(biases[index, 0], linear.bias)


def test_a_seed_gives_the_same_head_in_any_company() -> None:
    train = blobs()
    together = trained(train, all_rows(train, 3), options())
    alone = trained(train, all_rows(train, 1), options(seeds=[2]))
    torch.testing.assert_close(alone[0][0], together[0][1])
    assert not torch.allclose(together[0][0], together[0][1])
    *_, (slow, as_before) = train_heads(train, all_rows(train, 3), options(lr=[1e-4, 1e-2]))
    torch.testing.assert_close(as_before.weights, together[0])
    torch.testing.assert_close(as_before.biases, together[1])
    assert not torch.allclose(slow.weights, as_before.weights)


def test_long_training_comes_close_to_scikit_learns_optimum() -> None:
    train = blobs(spread=8.0)
    settings = options(seeds=[1], epochs=500, batch_size=90, lr=[3e-2])
    weights, biases = trained(train, all_rows(train, 1), settings)
    loss = nn.functional.cross_entropy(train.features @ weights[0] + biases[0], train.labels)
    best = LogisticRegression(C=np.inf, max_iter=1000).fit(train.features.numpy(), train.labels.numpy())
    log = best.predict_log_proba(train.features.numpy())
    optimum = -log[np.arange(90), train.labels.numpy()].mean()
    assert optimum <= float(loss) + 1e-6 < optimum + 1e-3


def test_fewer_examples_than_a_batch_are_one_batch() -> None:
    train = blobs(12)
    epochs = list(train_heads(train, all_rows(train, 3), options(batch_size=500)))
    assert len(epochs) == 4 and epochs[-1][0].weights.shape == (3, 5, 3)
