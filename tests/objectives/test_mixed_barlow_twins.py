"""Mixed Barlow Twins by its formula, written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from speechssl.objectives.barlow_twins import BarlowTwins, BarlowTwinsSettings
from speechssl.objectives.mixed_barlow_twins import MixedBarlowTwins, MixedBarlowTwinsSettings


@pytest.fixture
def objective(through) -> MixedBarlowTwins:
    """The features are a tanh of the input: a mixture is not the mixture of the features."""
    made = MixedBarlowTwins(through(3), MixedBarlowTwinsSettings(off_diagonal=0.1, mix_weight=4.0))
    made.projector = nn.Tanh()
    return made


def standard(features: np.ndarray) -> np.ndarray:
    return (features - features.mean(0)) / features.std(0)


def mix_loss(first: np.ndarray, second: np.ndarray, share: float, order: np.ndarray) -> float:
    mixture = standard(np.tanh(share * first + (1 - share) * second[order]))
    one, two = standard(np.tanh(first)), standard(np.tanh(second))
    total = 0.0
    for view in (one, two):
        correlation = mixture.T @ view / len(view)
        expected = share * (one.T @ view) / len(view) + (1 - share) * (two[order].T @ view) / len(view)
        total += ((correlation - expected) ** 2).sum()
    return total


def test_formula(objective, through, views, monkeypatch):
    first, second = np.random.default_rng(0).standard_normal((2, 6, 3))
    order = np.array([3, 0, 4, 1, 5, 2])
    monkeypatch.setattr(objective, "_drawn", lambda clips: (0.3, torch.tensor(order)))
    tensors = [torch.tensor(view, dtype=torch.float32) for view in (first, second)]
    result = objective(through(3), views(*tensors))
    expected = mix_loss(first, second, 0.3, order)
    barlow, mix = (float(result.metrics[name][0]) / 6 for name in objective.metrics)
    assert mix == pytest.approx(expected, rel=1e-3)
    assert result.loss.item() == pytest.approx(barlow + 4 * 0.1 * mix, rel=1e-5)
    plain = BarlowTwins(through(3), BarlowTwinsSettings(off_diagonal=0.1))
    plain.projector = nn.Tanh()
    assert barlow == pytest.approx(plain(through(3), views(*tensors)).loss.item(), rel=1e-5)


def test_a_clip_mixed_with_itself_leaves_nothing_to_regularise(objective, through, views):
    objective.projector = nn.Identity()
    features = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    objective._drawn = lambda clips: (0.4, torch.arange(clips))
    result = objective(through(3), views(features, features))
    assert float(result.metrics["mix_loss"][0]) == pytest.approx(0, abs=1e-8)


def test_draws_are_anew_in_training_and_fixed_in_evaluation(objective, through, views):
    torch.manual_seed(0)
    batch = views(torch.randn(6, 3), torch.randn(6, 3))
    losses = [objective(through(3), batch).loss.item() for _ in range(3)]
    assert len(set(losses)) == 3
    objective.eval()
    first, second = (view[:, :, 0].numpy().astype(float) for view in batch.views)
    expected = mix_loss(first, second, 0.5, np.array([5, 0, 1, 2, 3, 4]))
    for _ in range(2):
        total, count = objective(through(3), batch).metrics["mix_loss"]
        assert float(total) / count == pytest.approx(expected, rel=1e-3)
