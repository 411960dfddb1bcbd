import math

import numpy as np
import pytest
import torch
from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin_min

from speechssl.errors import UserError
from speechssl.units.kmeans import ClusteringSettings, Quantizer, fit_kmeans, seed_centroids


def speech_like(frames: int, dim: int = 39, states: int = 150, seed: int = 0) -> np.ndarray:
    """Frames of a slowly changing signal: runs of unequally likely states, correlated noise of unequal variance."""
    rng = np.random.default_rng(seed)
    scale = 20.0 / np.arange(1, dim + 1)
    means = rng.normal(size=(states, dim)) * scale
    mixing = rng.normal(size=(dim, dim)) / math.sqrt(dim)
    probabilities = rng.dirichlet(np.full(states, 0.7))
    runs = rng.choice(states, size=frames // 5 + 1, p=probabilities).repeat(5)[:frames]
    return (means[runs] + (rng.normal(size=(frames, dim)) @ mixing) * scale).astype(np.float32)


def inertia(frames: np.ndarray, centroids: np.ndarray) -> float:
    return float(np.square(pairwise_distances_argmin_min(frames.astype(np.float64), centroids)[1]).mean())


@pytest.mark.parametrize("offset", [0.0, 3000.0])
def test_quantizer_finds_the_nearest_centroids_whatever_the_offset(offset: float) -> None:
    frames = speech_like(7000) + np.float32(offset)
    centroids = frames[::70]
    labels, distances = Quantizer(torch.from_numpy(centroids))(torch.from_numpy(frames))
    expected, roots = pairwise_distances_argmin_min(frames.astype(np.float64), centroids.astype(np.float64))
    assert (labels.numpy() == expected).mean() > 0.9995
    np.testing.assert_allclose(distances.numpy(), roots**2, rtol=1e-3, atol=1e-2)


def test_seeding_is_as_good_as_scikit_learns() -> None:
    frames = speech_like(4000)
    generator = torch.Generator().manual_seed(0)
    ours = [inertia(frames, seed_centroids(torch.from_numpy(frames), 50, 1, generator).numpy()) for _ in range(8)]
    theirs = [inertia(frames, kmeans_plusplus(frames, 50, random_state=seed)[0]) for seed in range(8)]
    random = inertia(frames, frames[:: len(frames) // 50])
    assert np.mean(ours) < 1.03 * np.mean(theirs) < 0.95 * random
    best_of_twenty = inertia(frames, seed_centroids(torch.from_numpy(frames), 50, 20, generator).numpy())
    assert best_of_twenty < np.mean(ours)


def test_inertia_is_within_two_percent_of_scikit_learns() -> None:
    frames = speech_like(60_000)
    held_out = speech_like(20_000, seed=0)[::-1]
    settings = ClusteringSettings(k=100, seed=3, batch_size=2000, max_iter=20)
    ours = fit_kmeans(torch.from_numpy(frames), settings)
    theirs = MiniBatchKMeans(
        100,
        batch_size=2000,
        n_init=20,
        max_iter=20,
        tol=0.0,
        max_no_improvement=100,
        reassignment_ratio=0.0,
        random_state=3,
    ).fit(frames)
    assert ours.inertia == pytest.approx(inertia(frames, ours.centroids.numpy()), rel=1e-4)
    assert ours.inertia <= 1.02 * inertia(frames, theirs.cluster_centers_)
    assert inertia(held_out, ours.centroids.numpy()) <= 1.02 * inertia(held_out, theirs.cluster_centers_)


def test_separate_blobs_are_found_exactly() -> None:
    rng = np.random.default_rng(1)
    means = np.array([[0, 0], [50, 0], [0, 50], [50, 50]], dtype=np.float32)
    members = rng.integers(4, size=5000)
    frames = (means[members] + rng.normal(size=(5000, 2))).astype(np.float32)
    fitted = fit_kmeans(torch.from_numpy(frames), ClusteringSettings(k=4, batch_size=500))
    centroids = fitted.centroids.numpy()[np.lexsort(fitted.centroids.numpy().round(-1).T)]
    # A mini-batch centroid is the mean of all frames drawn for it, so it is near the blob's mean, not on it.
    np.testing.assert_allclose(centroids, [frames[members == blob].mean(0) for blob in range(4)], atol=0.1)


def test_same_seed_same_centroids_and_another_seed_others() -> None:
    frames = torch.from_numpy(speech_like(5000))
    first, again, other = (
        fit_kmeans(frames, ClusteringSettings(k=20, seed=seed, batch_size=500, max_iter=5)).centroids
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_fewer_distinct_frames_than_clusters_leaves_no_centroid_at_the_origin() -> None:
    frames = torch.tensor([[10.0, 10.0], [20.0, 20.0], [30.0, 10.0]]).repeat(50, 1)
    fitted = fit_kmeans(frames, ClusteringSettings(k=8, batch_size=30, max_iter=10))
    assert fitted.inertia == pytest.approx(0, abs=1e-6)
    assert fitted.centroids.min() > 9.9


@pytest.mark.parametrize(("frames", "k", "batch_size"), [(3000, 300, 50), (120, 100, 10_000)])
def test_every_centroid_is_seeded_with_a_frame_of_its_own(frames: int, k: int, batch_size: int) -> None:
    settings = ClusteringSettings(k=k, batch_size=batch_size, max_iter=1)
    fitted = fit_kmeans(torch.from_numpy(speech_like(frames)), settings)
    assert len(fitted.centroids.unique(dim=0)) == k


def test_fit_stops_when_nothing_improves() -> None:
    frames = torch.from_numpy(speech_like(2000))
    settings = ClusteringSettings(k=5, batch_size=500, max_iter=1000, max_no_improvement=5)
    assert fit_kmeans(frames, settings).steps < 4000


def test_fewer_frames_than_clusters_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"k=100 .* the fit has 7"):
        fit_kmeans(torch.zeros(7, 3), ClusteringSettings(k=100))
