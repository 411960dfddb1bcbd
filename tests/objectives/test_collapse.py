"""RankMe, variance and nearest neighbours against numpy and scikit-learn, and on collapsed embeddings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from speechssl.objectives.collapse import collapse_signs, feature_variance, knn_accuracy, rank_me


def test_rankme_equals_the_formula_on_singular_values():
    embeddings = np.random.default_rng(0).standard_normal((500, 20)) * np.linspace(0.1, 3, 20)
    singular = np.linalg.svd(embeddings, compute_uv=False)
    shares = singular / singular.sum() + 1e-7
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert rank_me(torch.from_numpy(embeddings.T @ embeddings)) == pytest.approx(expected, rel=1e-9)
    assert collapse_signs(torch.from_numpy(embeddings))["rankme"] == pytest.approx(expected, rel=1e-9)


def test_rankme_counts_dimensions_that_are_filled_alike():
    assert rank_me(torch.eye(7, dtype=torch.float64)) == pytest.approx(7, rel=1e-4)
    flat = torch.zeros(7, 7, dtype=torch.float64)
    flat[0, 0] = 5
    assert rank_me(flat) == pytest.approx(1, rel=1e-4)


def test_variance_by_hand():
    # Lengths do not count. Along each of two axes, half of the clips: means (1/2, 1/2), variances 1/4 each.
    assert feature_variance(torch.tensor([[3.0, 0], [0, 5], [0.1, 0], [0, 1]])) == pytest.approx(0.5)
    assert feature_variance(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])) == pytest.approx(1.0)
    assert feature_variance(torch.tensor([[1.0, 2], [2, 4]])) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("neighbours", [1, 2, 5])
def test_neighbours_as_scikit_learn(neighbours):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 60)
    embeddings = generator.standard_normal((4, 6))[labels] + 1.2 * generator.standard_normal((60, 6))
    classifier = KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute")
    expected = cross_val_score(classifier, embeddings, labels, cv=LeaveOneOut()).mean()
    assert 0.3 < expected < 0.9
    assert knn_accuracy(torch.tensor(embeddings), torch.tensor(labels), neighbours) == pytest.approx(expected)


def test_fewer_clips_than_neighbours():
    assert knn_accuracy(torch.tensor([[1.0, 0], [1, 0.1]]), torch.tensor([3, 3])) == 1.0


def test_collapse_shows_in_all_signs():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 4
    healthy = torch.randn(4, 16, generator=generator)[labels] + 0.5 * torch.randn(200, 16, generator=generator)
    collapsed = torch.ones(200, 16) + 1e-3 * torch.randn(200, 16, generator=generator)
    good, bad = collapse_signs(healthy), collapse_signs(collapsed)
    assert good["rankme"] > 8 and bad["rankme"] < 1.2
    assert good["feature_variance"] > 0.5 and bad["feature_variance"] < 1e-4
    assert knn_accuracy(healthy, labels) > 0.9 and knn_accuracy(collapsed, labels) < 0.5


def test_rows_that_are_not_finite_are_left_out():
    embeddings = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    spoilt = torch.cat([embeddings, torch.full((1, 6), torch.nan), torch.full((1, 6), torch.inf)])
    assert collapse_signs(spoilt) == collapse_signs(embeddings)


def test_zeros_have_collapsed():
    assert collapse_signs(torch.zeros(20, 8)) == {"rankme": 1.0, "feature_variance": 0.0}
