"""Spherical k-means on angles whose clusters are plain to see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from speechssl.objectives.spherical_kmeans import spherical_kmeans


def at(*degrees: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def degrees_of(vectors: Tensor) -> list[float]:
    return sorted(torch.rad2deg(torch.atan2(vectors[:, 1], vectors[:, 0])).tolist())


@pytest.mark.parametrize("seed", range(6))
def test_kmeans_by_hand_from_any_start(seed):
    centroids, clusters = spherical_kmeans(at(0, 10, 90, 100), 2, iterations=10, seed=seed)
    assert degrees_of(centroids) == pytest.approx([5, 95], abs=1e-3)
    assert clusters[0] == clusters[1] != clusters[2] == clusters[3]


@pytest.mark.parametrize("seed", range(6))
def test_empty_clusters_go_on_from_the_farthest_points(seed):
    # Most starts draw the same direction twice: one of the two centroids never gets a point.
    points = at(*[0.0] * 20, 60, 120)
    centroids, clusters = spherical_kmeans(points, 3, iterations=10, seed=seed)
    assert degrees_of(centroids) == pytest.approx([0, 60, 120], abs=1e-3)
    assert len(set(clusters.tolist())) == 3


def test_as_lloyds_algorithm_in_numpy():
    generator = np.random.default_rng(0)
    points = generator.standard_normal((300, 8))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    drawn = torch.randperm(300, generator=torch.Generator().manual_seed(5))[:6]
    centroids = points[drawn.numpy()]
    for _ in range(3):
        nearest = (points @ centroids.T).argmax(1)
        centroids = np.stack([points[nearest == cluster].mean(0) for cluster in range(6)])
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    ours, clusters = spherical_kmeans(torch.tensor(points), 6, iterations=3, seed=5)
    np.testing.assert_allclose(ours.numpy(), centroids, atol=1e-12)
    np.testing.assert_array_equal(clusters.numpy(), (points @ centroids.T).argmax(1))


def test_blocks_of_points_change_nothing(monkeypatch):
    torch.manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(50, 4, dtype=torch.float64), dim=1)
    whole = spherical_kmeans(points, 5, iterations=4, seed=0)
    monkeypatch.setattr("speechssl.objectives.spherical_kmeans._ROWS_AT_ONCE", 7)
    blocks = spherical_kmeans(points, 5, iterations=4, seed=0)
    torch.testing.assert_close(blocks, whole)
