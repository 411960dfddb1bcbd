"""k-mix (SLICER, arXiv 2211.01519): log-mixup-exp of a clip with one that sounds most unlike it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from speechssl.limits import named, require
from speechssl.objectives.heads import full_precision, unit_vectors
from speechssl.objectives.spherical_kmeans import moved_centroids
from speechssl.settings import read_with


@dataclass
class KMixSettings:
    """Pick the other clip of `augment.mixup_exp` from the cluster that is farthest from the clip's own."""

    enabled: bool = True
    """Whether it is on; off, any clip of the memory is the other one."""
    clusters: int = field(default=4, metadata=read_with("enabled", True))
    """Clusters of the clips' mean spectra (4 in the released configuration)."""
    iterations: int = field(default=1, metadata=read_with("enabled", True))
    """Iterations of k-means for each view; they go on from those for the view before. (20 from scratch in the released
    configuration.)"""

    def __post_init__(self) -> None:
        require(named(self, "clusters", "iterations", prefix="objective.slicer.kmix."), least=1)


class KMix(nn.Module):
    """Picks partners for `speechssl.audio.augment.MixupExp`.

    A clip's partner is drawn from the members of the cluster of mean spectra whose centroid is least similar to that
    of the clip's own cluster. In the paper the clusters are fitted beforehand; here they are those of the memory, so
    that there is nothing to prepare, and move on as it does.

    Args:
        settings: see :class:`KMixSettings`.
        num_mels: mels of the clips.
    """

    centroids: Tensor

    def __init__(self, settings: KMixSettings, num_mels: int) -> None:
        super().__init__()
        self.iterations = settings.iterations
        self.register_buffer("centroids", torch.zeros(settings.clusters, num_mels))

    @torch.no_grad()
    def forward(self, log_mel: Tensor, memory: Tensor, filled: Tensor, draws: Tensor) -> Tensor:
        """Return places of the memory `(batch,)`: see `speechssl.audio.augment.Partners`.

        In training mode the centroids move on. Nothing is read back from a GPU, which would wait for all in hand.
        """
        places, k = torch.arange(len(memory), device=memory.device), len(self.centroids)
        with full_precision(log_mel):
            # What is not filled yet repeats what is. While all is empty, spectra and centroids are zero.
            spectra = unit_vectors(memory.mean(dim=2))[places % filled.clamp(min=1)]
            # The clips of the memory are in random order, so the first ones are as good a start as any.
            start = torch.where(self.centroids.any(), self.centroids, spectra[torch.arange(k) % len(spectra)])
            centroids, clusters = moved_centroids(spectra, start, self.iterations)
            own = (unit_vectors(log_mel.mean(dim=2)) @ centroids.T).argmax(dim=1)
            clusters = clusters.where(places < filled, k)
            sizes = clusters.new_zeros(k + 1).scatter_add_(0, clusters, torch.ones_like(clusters))[:k]
            farthest = (centroids @ centroids.T).masked_fill(sizes == 0, torch.inf).argmin(dim=1)[own]
        if self.training:
            self.centroids.copy_(centroids)
        # Places of the memory, cluster after cluster.
        members = clusters.argsort(stable=True)
        firsts = sizes.cumsum(dim=0) - sizes
        return members[firsts[farthest] + (draws * sizes[farthest]).long()]
