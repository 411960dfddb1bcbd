"""Settings of `speechssl cluster`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from speechssl.audio import SAMPLE_RATE
from speechssl.errors import UserError
from speechssl.limits import named, require, require_list
from speechssl.settings import read_with


@dataclass
class ClusterSettings:
    """Pseudo-labels of whole recordings."""

    manifests: list[str] = MISSING
    """Manifests to label; the clustering is fitted on the first. `train.tsv` becomes `train.cluster`."""
    encoder: str = MISSING
    """The encoder whose pooled output is clustered: whatever `speechssl.load_encoder` takes."""
    out: str = MISSING
    """Folder for `<split>.cluster`, the clustering and `quality.json`."""
    k: int | None = None
    """Number of clusters: that of the target's classes, as published. null: of `candidates`, the number with the
    highest silhouette."""
    candidates: list[int] = field(
        default_factory=lambda: [2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64], metadata=read_with("k", None)
    )
    """Numbers of clusters that are tried where `k` is null."""
    components: int = 128
    """Principal components that are kept, whitened (128 as published). Whitening makes the smallest of them as large as
    the largest: with fewer than ten recordings a component, noise weighs most."""
    iterations: int = 20
    """Iterations of k-means at most (20 as published)."""
    seed: int = 1
    """Of the starts of k-means."""
    clip_seconds: float | None = None
    """Length that every recording is cut or padded to, in its middle (0.95 in UnFuSeD's code). null: recordings as they
    are, up to `max_seconds`; where an encoder pools a maximum over time, clusters may then follow the length
    (`quality.json` says how much)."""
    max_seconds: float = field(default=20.0, metadata=read_with("clip_seconds", None))
    """Of longer recordings, the middle."""
    device: str = "auto"
    """Where the encoder runs: `cpu`, `cuda`, or `auto`."""

    def __post_init__(self) -> None:
        splits = [Path(manifest).stem for manifest in self.manifests] if self.manifests != MISSING else ["?"]
        if not splits or len(set(splits)) < len(splits):
            raise UserError(f"manifests={self.manifests}: give at least one, and no two of the same name")
        require({"k": self.k}, least=2)
        if self.k is None:
            require_list("candidates", self.candidates, least=2)
        require(named(self, "components", "iterations"), above=0)
        # A sample at least.
        require(named(self, "clip_seconds", "max_seconds"), least=1 / SAMPLE_RATE)
