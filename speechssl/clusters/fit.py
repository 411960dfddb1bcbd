"""PCA with whitening, unit length, k-means: the second step of UnFuSeD (arXiv 2303.05668)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import normalize

from speechssl.errors import UserError

Vectors = npt.NDArray[np.float32]

_SILHOUETTE_SAMPLE = 2000
"""Recordings that the silhouette is computed from: its cost grows with their square. More for very many clusters."""


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
        points = normalize((vectors - self.mean) @ self.whitening.T)
        distances = np.square(self.centroids).sum(1) - 2 * points @ self.centroids.T
        return distances.argmin(1).astype(np.int64)


def fit_clustering(vectors: Vectors, k: int, components: int, iterations: int, seed: int) -> Clustering:
    """Fit on `vectors` `(recordings, dim)`.

    Args:
        vectors: what an encoder pools of each recording.
        k: number of clusters.
        components: principal components kept; as many as there can be, where there are fewer.
        iterations: of k-means, at most, in each of ten starts.
        seed: of the starts.
    """
    pca, points = _points(vectors, components)
    means = KMeans(k, n_init=10, max_iter=iterations, random_state=seed).fit(points)
    scale = np.sqrt(pca.explained_variance_)[:, None]
    return Clustering(
        pca.mean_.astype(np.float32),
        (pca.components_ / scale).astype(np.float32),
        means.cluster_centers_.astype(np.float32),
    )


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
    _, points = _points(vectors, components)
    found = {}
    for k in candidates:
        labels = KMeans(k, n_init=10, max_iter=iterations, random_state=seed).fit_predict(points)
        rows = _sample(labels, max(_SILHOUETTE_SAMPLE, 2 * k), seed)
        found[k] = float(silhouette_score(points[rows], labels[rows]))
    return found


def _sample(labels: npt.NDArray[np.int32], size: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw `size` rows, or all where there are fewer, one of each cluster among them."""
    order = np.random.default_rng(seed).permutation(len(labels))
    firsts = np.unique(labels[order], return_index=True)[1]
    return np.concatenate([order[firsts], np.delete(order, firsts)])[:size]


def _points(vectors: Vectors, components: int) -> tuple[PCA, Vectors]:
    """Return the fitted PCA and the whitened vectors, each of length 1."""
    most = min(components, vectors.shape[1], len(vectors) - 1)
    pca = PCA(most, whiten=True, svd_solver="full").fit(vectors)
    # Directions without variance would be blown up to noise.
    kept = int((pca.explained_variance_ > 1e-7 * pca.explained_variance_[0]).sum())
    if kept == 0:
        raise UserError("all recordings have the same vector: the encoder has collapsed; cluster with another one")
    if kept < most:
        pca = PCA(kept, whiten=True, svd_solver="full").fit(vectors)
    return pca, normalize(pca.transform(vectors)).astype(np.float32)
