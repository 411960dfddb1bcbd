"""k-mix (SLICER, arXiv 2211.01519): log-mixup-exp of a clip with one that sounds most unlike it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from speechssl.errors import UserError
from speechssl.objectives.heads import full_precision, unit_vectors
from speechssl.objectives.spherical_kmeans import spherical_kmeans


@dataclass
class KMixSettings:
    """Pick the other clip of `augment.mixup_exp` from the cluster that is farthest from the clip's own."""

    enabled: bool = True
    """Whether it is on; off, any clip of the memory is the other one."""
    clusters: int = 4
    """Clusters of the clips' mean spectra (4 in the released configuration)."""
    iterations: int = 20
    """Iterations of k-means (20 in the released configuration)."""

    def __post_init__(self) -> None:
        if self.clusters < 1 or self.iterations < 1:
            raise UserError("objective.slicer.kmix: clusters and iterations must be 1 or more")


class KMix:
    """Picks partners for `speechssl.audio.augment.MixupExp`.

    A clip's partner is drawn from the members of the cluster of mean spectra whose centroid is least similar to that
    of the clip's own cluster. In the paper the clusters are fitted beforehand; here they are those of the memory, so
    that there is nothing to prepare.

    Args:
        settings: see :class:`KMixSettings`.
    """

    def __init__(self, settings: KMixSettings) -> None:
        self.settings = settings

    @torch.no_grad()
    def __call__(self, log_mel: Tensor, memory: Tensor, filled: Tensor, draws: Tensor) -> Tensor:
        """Return places of the memory `(batch,)`: see `speechssl.audio.augment.Partners`."""
        count = int(filled)
        if count == 0:
            return torch.zeros_like(draws, dtype=torch.int64)
        with full_precision(log_mel):
            spectra = unit_vectors(memory[:count].mean(dim=2))
            k = min(self.settings.clusters, count)
            centroids, clusters = spherical_kmeans(spectra, k, self.settings.iterations, seed=0)
            own = (unit_vectors(log_mel.mean(dim=2)) @ centroids.T).argmax(dim=1)
            sizes = clusters.bincount(minlength=k)
            farthest = (centroids @ centroids.T).masked_fill(sizes == 0, torch.inf).argmin(dim=1)[own]
        # Places of the memory, cluster after cluster.
        members = clusters.argsort(stable=True)
        firsts = sizes.cumsum(dim=0) - sizes
        return members[firsts[farthest] + (draws * sizes[farthest]).long()]
