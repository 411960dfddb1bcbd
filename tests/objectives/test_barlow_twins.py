"""Barlow Twins on a case worked by hand, and against numpy's correlations and torch's BatchNorm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from speechssl.objectives.barlow_twins import BarlowTwins, BarlowTwinsSettings, barlow_loss, cross_correlation


def test_case_by_hand(through, views):
    # Features of view 1 are uncorrelated with variance 1; both features of view 2 are the first of view 1:
    # C = [[1, 1], [0, 0]]; (1 - 1)^2 + (1 - 0)^2 + 0.5 (1^2 + 0^2) = 1.5.
    first = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    second = first[:, :1].repeat(1, 2)
    objective = BarlowTwins(through(2), BarlowTwinsSettings(projector=2, off_diagonal=0.5))
    objective.projector = nn.Identity()
    result = objective(through(2), views(first, second))
    assert result.loss.item() == pytest.approx(1.5, rel=1e-4)
    total, count = result.metrics["barlow_loss"]
    assert count == 4
    assert total.item() == pytest.approx(6.0, rel=1e-4)
    assert set(result.metrics) == set(objective.metrics)


def test_correlation_is_numpys():
    generator = np.random.default_rng(0)
    first, second = generator.standard_normal((2, 30, 3)) * [0.2, 4, 1] + [0, 5, -9]
    expected = np.corrcoef(first.T, second.T)[:3, 3:]
    ours = cross_correlation(torch.tensor(first), torch.tensor(second))
    np.testing.assert_allclose(ours.numpy(), expected, atol=2e-4)


def test_loss_and_gradient_with_torchs_batch_norm():
    torch.manual_seed(0)
    first, second = torch.randn(2, 16, 5).unbind()
    ours, theirs = first.clone().requires_grad_(), first.clone().requires_grad_()
    barlow_loss(cross_correlation(ours, second), 0.0051).backward()
    norm = nn.BatchNorm1d(5, affine=False)
    correlation = norm(theirs).T @ norm(second) / 16
    error = (correlation - torch.eye(5)).square()
    (error * torch.where(torch.eye(5) > 0, 1.0, 0.0051)).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_projector_is_three_layers_without_biases(tiny):
    objective = BarlowTwins(tiny, BarlowTwinsSettings())
    linear = [layer for layer in objective.projector if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(2048, 6), (2048, 2048), (2048, 2048)]
    assert all(layer.bias is None for layer in linear)
    assert isinstance(objective.projector[-1], nn.Linear)
