"""Mini-batch k-means on torch: greedy k-means++ seeding, one matrix product a batch, any device, several processes.

Algorithm and settings: Sculley, "Web-scale k-means clustering" (WWW 2010), as scikit-learn's `MiniBatchKMeans` runs it
for HuBERT (fairseq `examples/hubert/simple_kmeans/learn_kmeans.py`), and Arthur and Vassilvitskii's k-means++ (2007).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from speechssl.errors import UserError
from speechssl.limits import named, require
from speechssl.progress import progress
from speechssl.units.processes import Processes

_SCORES_AT_ONCE = {"cpu": 1 << 18, "cuda": 1 << 26}
"""Frame-by-cluster scores computed at once: on a CPU what its cache holds, on a GPU 256 MB."""


@dataclass
class ClusteringSettings:
    """Mini-batch k-means; the defaults are HuBERT's."""

    k: int = 100
    """Number of clusters (HuBERT: 100 on MFCC, 500 on an encoder layer)."""
    seed: int = 0
    """Seed of the sampled recordings and frames, of the seeding and of the mini-batches."""
    batch_size: int = 10_000
    """Frames in a mini-batch."""
    n_init: int = 20
    """Number of k-means++ seedings, of which the best starts the clustering."""
    max_iter: int = 100
    """Most passes over the fitted frames."""
    max_no_improvement: int = 100
    """Mini-batches without a better smoothed inertia after which the fit stops."""

    def __post_init__(self) -> None:
        require(named(self, "k", "batch_size", "n_init", "max_iter", "max_no_improvement"), least=1)


@dataclass(frozen=True)
class FittedKMeans:
    """A fitted k-means."""

    centroids: Tensor
    """`(k, dim)` float32, on the device of the frames."""
    inertia: float
    """Mean squared distance of a fitted frame to its centroid."""
    steps: int
    """Mini-batches taken."""


class Quantizer:
    """Nearest centroids by one matrix product, in float32 around the mean of the centroids (so nothing cancels)."""

    def __init__(self, centroids: Tensor) -> None:
        self._shift = centroids.mean(0)
        centred = centroids - self._shift
        self._projection = centred.T.contiguous()
        self._norms = centred.square().sum(1)
        self._rows = max(1, _SCORES_AT_ONCE[centroids.device.type] // len(centroids))

    def __call__(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest centroid of each frame and the squared distance to it.

        Args:
            frames: `(frames, dim)` float32.

        Returns:
            `(frames,)` int64 and `(frames,)` float32.
        """
        if len(frames) <= self._rows:
            return self._block(frames)
        labels, distances = zip(*map(self._block, frames.split(self._rows)), strict=True)
        return torch.cat(labels), torch.cat(distances)

    def _block(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        centred = frames - self._shift
        scores, labels = torch.addmm(self._norms, centred, self._projection, alpha=-2).min(1)
        return labels, (scores + centred.square().sum(1)).clamp_min(0)


def fit_kmeans(frames: Tensor, settings: ClusteringSettings, processes: Processes | None = None) -> FittedKMeans:
    """Fit mini-batch k-means on frames in memory.

    Mini-batches are drawn from the frames of all processes in order of rank, so the result depends on the seed and the
    frames, and on the number of processes only by rounding.

    Args:
        frames: `(frames, dim)` float32: this process's share.
        settings: number of clusters, seed, stopping.
        processes: the processes that hold the other shares.

    Raises:
        UserError: fewer frames than clusters.
    """
    rows = _SharedRows(frames, processes or Processes())
    if rows.total < settings.k:
        raise UserError(f"k={settings.k} clusters need at least as many frames, and the fit has {rows.total}")
    generator = torch.Generator().manual_seed(settings.seed)
    sample = rows.gathered(_seeding_rows(rows.total, settings, generator))
    centroids = seed_centroids(sample, settings.k, settings.n_init, generator)
    steps = 0
    counts = torch.zeros(settings.k, device=frames.device)
    stopping = _Stopping(settings, rows.total)
    for batch in _mini_batches(rows.total, settings, generator):
        inertia = _update(centroids, counts, rows, batch)
        steps += 1
        if stopping.reached(inertia):
            break
    _, distances = Quantizer(centroids)(frames)
    total = rows.processes.sum(distances.sum(dtype=torch.float64))
    return FittedKMeans(centroids, float(total) / rows.total, steps)


def _seeding_rows(total: int, settings: ClusteringSettings, generator: torch.Generator) -> Tensor:
    """Return which frames centroids are seeded with: of few frames none twice, or there were fewer than k."""
    size = min(3 * max(settings.batch_size, settings.k), total)
    if total < 2 * size:
        return torch.randperm(total, generator=generator)[:size]
    return torch.randint(total, (size,), generator=generator)


def seed_centroids(sample: Tensor, k: int, n_init: int, generator: torch.Generator) -> Tensor:
    """Return the best of `n_init` greedy k-means++ seedings.

    All seedings grow together, so a step is one matrix product for all of them; each step of each seeding tries
    `2 + log k` candidates, as scikit-learn does.

    Args:
        sample: `(frames, dim)` float32.
        k: number of centroids.
        n_init: number of seedings.
        generator: draws the candidates; on the CPU, so that every device picks the same ones.

    Returns:
        `(k, dim)` centroids, members of the sample.
    """
    centred = sample - sample.mean(0)
    transposed = centred.T.contiguous()
    norms = centred.square().sum(1)
    trials = 2 + int(math.log(k))
    seedings = torch.arange(n_init, device=sample.device)
    picked = torch.randint(len(sample), (n_init, 1), generator=generator).to(sample.device)
    chosen = [picked[:, 0]]
    closest = _distances(centred, transposed, norms, picked)[:, 0]
    for _ in progress(range(1, k), "seeding k-means", "centroid"):
        candidates = _draw(closest, trials, generator)
        distances = torch.minimum(_distances(centred, transposed, norms, candidates), closest[:, None])
        best = distances.sum(2).argmin(1)
        closest = distances[seedings, best]
        chosen.append(candidates[seedings, best])
    best_seeding = closest.sum(1, dtype=torch.float64).argmin()
    return sample[torch.stack(chosen)[:, best_seeding]].clone()


def _distances(centred: Tensor, transposed: Tensor, norms: Tensor, picked: Tensor) -> Tensor:
    """Return `(seedings, candidates, frames)` squared distances from the picked `(seedings, candidates)` frames."""
    flat = picked.flatten()
    products = torch.addmm(norms, centred[flat], transposed, alpha=-2)
    return products.add_(norms[flat, None]).clamp_min_(0).view(*picked.shape, -1)


def _draw(closest: Tensor, trials: int, generator: torch.Generator) -> Tensor:
    """Draw `(seedings, trials)` frames with probability proportional to the distance to their closest centroid."""
    cumulated = closest.cpu().double().cumsum(1)
    points = torch.rand(len(closest), trials, generator=generator, dtype=torch.float64) * cumulated[:, -1:]
    return torch.searchsorted(cumulated, points).clamp_max_(closest.shape[1] - 1).to(closest.device)


def _mini_batches(frames: int, settings: ClusteringSettings, generator: torch.Generator) -> Iterator[Tensor]:
    batch_size = min(settings.batch_size, frames)
    for _ in progress(range(settings.max_iter * frames // batch_size), "fitting k-means, at most", "mini-batch"):
        yield torch.randint(frames, (batch_size,), generator=generator)


def _update(centroids: Tensor, counts: Tensor, rows: _SharedRows, batch: Tensor) -> float:
    """Move each centroid to the mean of all frames it was ever given; return the batch's mean squared distance.

    Sums are products with a one-hot matrix: unlike scattered additions, the same on every run on a GPU.
    """
    local = rows.local(batch)
    labels, distances = Quantizer(centroids)(local)
    members = torch.zeros(len(centroids), len(local), device=local.device).scatter_(0, labels[None], 1.0)
    sums = rows.processes.sum(members @ local)
    added = rows.processes.sum(members.sum(1))
    counts.add_(added)
    # A cluster that never had a member stays where it was seeded: HuBERT's k-means reassigns none.
    centroids.add_((sums - added[:, None] * centroids) / counts.clamp_min(1)[:, None])
    return float(rows.processes.sum(distances.sum())) / len(batch)


class _Stopping:
    """Early stopping on a smoothed inertia, with scikit-learn's smoothing; its `tol` is 0 in HuBERT: not used."""

    def __init__(self, settings: ClusteringSettings, frames: int) -> None:
        self._weight = min(1.0, 2 * settings.batch_size / (frames + 1))
        self._patience = settings.max_no_improvement
        self._smoothed: float | None = None
        self._best = math.inf
        self._waited = 0

    def reached(self, inertia: float) -> bool:
        """Take note of a batch's inertia; return whether to stop."""
        previous = inertia if self._smoothed is None else self._smoothed
        self._smoothed = previous + self._weight * (inertia - previous)
        self._waited = 0 if self._smoothed < self._best else self._waited + 1
        self._best = min(self._best, self._smoothed)
        return self._waited >= self._patience


class _SharedRows:
    """The rows of a matrix whose shares the processes hold, numbered in order of rank."""

    def __init__(self, share: Tensor, processes: Processes) -> None:
        counts = torch.zeros(processes.size, dtype=torch.int64)
        counts[processes.rank] = len(share)
        counts = processes.sum(counts)
        self.processes = processes
        self.total = int(counts.sum())
        self._share = share
        self._first = int(counts[: processes.rank].sum())

    def local(self, numbers: Tensor) -> Tensor:
        """Return those of the numbered rows that this process holds."""
        own = numbers - self._first
        own = own[(own >= 0) & (own < len(self._share))]
        return self._share[own.to(self._share.device)]

    def gathered(self, numbers: Tensor) -> Tensor:
        """Return all numbered rows, in every process."""
        own = numbers - self._first
        held = ((own >= 0) & (own < len(self._share))).nonzero()[:, 0]
        result = self._share.new_zeros(len(numbers), self._share.shape[1])
        result[held.to(result.device)] = self._share[own[held].to(self._share.device)]
        return self.processes.sum(result)
