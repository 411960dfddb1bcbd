"""PCA with whitening, unit length, k-means: the second step of UnFuSeD (arXiv 2303.05668)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from speechssl.errors import UserError

Vectors = npt.NDArray[np.float32]

_SILHOUETTE_SAMPLE = 2000
"""Recordings that the silhouette is computed from: its cost grows with their square. More for very many clusters."""

_BLOCK = 8192
"""Vectors that are worked on at once: of a large corpus, only the vectors themselves are held as a whole."""


@dataclass
class Clustering:
    """A fitted clustering."""

    mean: Vectors
    """`(dim,)` mean of the vectors it was fitted on."""
    whitening: Vectors
    """`(components, dim)` principal axes, each divided by the standard deviation along it."""
    centroids: Vectors
    """`(k, components)`."""

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.centroids)

    def __call__(self, vectors: Vectors) -> npt.NDArray[np.int64]:
        """Return the cluster `(recordings,)` of vectors `(recordings, dim)`."""
        lengths = np.square(self.centroids).sum(1)
        blocks = _whitened(vectors, self.mean, self.whitening)
        nearest = [(lengths - 2 * points @ self.centroids.T).argmin(1) for points in blocks]
        return np.concatenate(nearest).astype(np.int64)


def fit_clustering(vectors: Vectors, k: int, components: int, iterations: int, seed: int) -> Clustering:
    """Fit on `vectors` `(recordings, dim)`.

    Args:
        vectors: what an encoder pools of each recording.
        k: number of clusters.
        components: principal components kept; as many as there can be, where there are fewer.
        iterations: of k-means, at most, in each of ten starts.
        seed: of the starts.
    """
    mean, whitening = _principal_axes(vectors, components)
    points = np.concatenate(list(_whitened(vectors, mean, whitening)))
    means = _fitted(points, k, iterations, seed)
    return Clustering(mean, whitening, means.cluster_centers_.astype(np.float32))


def silhouettes(
    vectors: Vectors, candidates: list[int], components: int, iterations: int, seed: int
) -> dict[int, float]:
    """Return the mean silhouette of a clustering into each number of clusters; more is better.

    Args:
        vectors: `(recordings, dim)`.
        candidates: numbers of clusters, each from 2 to one less than the recordings.
        components: see :func:`fit_clustering`.
        iterations: see :func:`fit_clustering`.
        seed: see :func:`fit_clustering`; also of the sample that large sets are reduced to.
    """
    points = np.concatenate(list(_whitened(vectors, *_principal_axes(vectors, components))))
    found = {}
    for k in candidates:
        labels = _fitted(points, k, iterations, seed).labels_
        rows = _sample(labels, max(_SILHOUETTE_SAMPLE, 2 * k), seed)
        found[k] = float(silhouette_score(points[rows], labels[rows]))
    return found


def _fitted(points: Vectors, k: int, iterations: int, seed: int) -> KMeans:
    """Fit k-means; the same again, since of more than two threads the sums are added in the order in which they end."""
    with threadpool_limits(2, user_api="openmp"):
        return KMeans(k, n_init=10, max_iter=iterations, random_state=seed).fit(points)


def _sample(labels: npt.NDArray[np.int32], size: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw `size` rows, or all where there are fewer, one of each cluster among them."""
    order = np.random.default_rng(seed).permutation(len(labels))
    firsts = np.unique(labels[order], return_index=True)[1]
    return np.concatenate([order[firsts], np.delete(order, firsts)])[:size]


def _principal_axes(vectors: Vectors, components: int) -> tuple[Vectors, Vectors]:
    """Return mean and whitening, as :class:`Clustering` has them.

    scikit-learn's PCA takes several copies of the vectors, and none of more than 2^31 values. By way of the covariance
    in float32 it would not tell a direction without variance from one with little.
    """
    mean = vectors.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((len(mean), len(mean)))
    for block in _blocks(vectors):
        centred = block - mean
        covariance += centred.T @ centred
    variances, axes = np.linalg.eigh(covariance / (len(vectors) - 1))
    most = min(components, len(mean), len(vectors) - 1)
    variances, axes = variances[::-1][:most], axes.T[::-1][:most]
    # Directions without variance, or with what rounding to float32 makes, would be blown up to noise.
    rounding = np.square(np.finfo(np.float32).eps * np.abs(mean).max())
    kept = variances > max(1e-7 * variances[0], rounding)
    if not kept.any():
        raise UserError("all recordings have the same vector: the encoder has collapsed; cluster with another one")
    whitening = axes[kept] / np.sqrt(variances[kept])[:, None]
    return mean.astype(np.float32), whitening.astype(np.float32)


def _whitened(vectors: Vectors, mean: Vectors, whitening: Vectors) -> Iterator[Vectors]:
    """Yield the whitened vectors, each of length 1, block after block."""
    for block in _blocks(vectors):
        yield normalize((block - mean) @ whitening.T)


def _blocks(vectors: Vectors) -> Iterator[Vectors]:
    for first in range(0, len(vectors), _BLOCK):
        yield vectors[first : first + _BLOCK]
