"""K-means by cosine similarity, on any device and the same on every run."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from speechssl.objectives.heads import full_precision

_ROWS_AT_ONCE = 8192
"""Points compared with all centroids at once."""


@torch.no_grad()
def spherical_kmeans(points: Tensor, k: int, iterations: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return `(k, dim)` centroids of length 1 and the cluster `(points,)` of each point.

    Clusters are by cosine similarity. The first centroids are points drawn at random. A cluster that loses all its
    points goes on from the point that is farthest from its own centroid. All sums are matrix products, so the result
    is the same on every run.

    Args:
        points: `(points, dim)`, each of length 1: a centroid is then the direction of its members' sum.
        k: number of clusters, at most that of points.
        iterations: number of times that the centroids move.
        seed: of the first centroids.
    """
    drawn = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:k]
    return moved_centroids(points, points[drawn.to(points.device)], iterations)


@torch.no_grad()
def moved_centroids(points: Tensor, centroids: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Go on from `centroids` `(k, dim)`: see :func:`spherical_kmeans`. Nothing is read back from a GPU."""
    with full_precision(points):
        for _ in range(iterations):
            clusters, similarities = _nearest(points, centroids)
            sums, members = _sums(points, clusters, len(centroids))
            empty = members == 0
            order = similarities.argsort(stable=True)
            farthest = points[order[(empty.cumsum(0) - 1).clamp(0, len(points) - 1)]]
            centroids = torch.where(empty[:, None], farthest, F.normalize(sums, dim=1))
        return centroids, _nearest(points, centroids)[0]


def _nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Return each point's nearest centroid and its cosine similarity to it."""
    nearest = [(part @ centroids.T).max(1) for part in points.split(_ROWS_AT_ONCE)]
    return torch.cat([part.indices for part in nearest]), torch.cat([part.values for part in nearest])


def _sums(points: Tensor, clusters: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the sum `(k, dim)` and the number `(k,)` of the points of each cluster."""
    sums, members = points.new_zeros(k, points.shape[1]), points.new_zeros(k)
    for part, labels in zip(points.split(_ROWS_AT_ONCE), clusters.split(_ROWS_AT_ONCE), strict=True):
        belongs = points.new_zeros(k, len(part)).scatter_(0, labels[None], 1.0)
        sums += belongs @ part
        members += belongs.sum(1)
    return sums, members
