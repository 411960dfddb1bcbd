"""The stage `speechssl kmeans`: from audio to a fitted k-means, with nothing dumped on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from speechssl.data.manifest import AUDIO, read_manifest
from speechssl.errors import UserError
from speechssl.files import checksum
from speechssl.limits import named, require
from speechssl.models.device import pick_device
from speechssl.models.load import encoder_files
from speechssl.units.features import CONTEXT_SECONDS, FeatureSettings, open_features
from speechssl.units.kmeans import ClusteringSettings, fit_kmeans
from speechssl.units.model import CENTROIDS, DESCRIPTION, KMeansInfo, write_kmeans
from speechssl.units.processes import joined_processes
from speechssl.units.reading import reader_threads
from speechssl.units.sampling import FrameSample, corpus_seconds, default_fraction, sample_recordings

_BYTES_A_VALUE = 4


@dataclass
class KMeansSettings(ClusteringSettings):
    """`speechssl kmeans`."""

    manifest: str = "???"
    """Manifest of the audio to fit on: the training split."""
    out: str = "???"
    """Folder for `kmeans.safetensors` and `kmeans.json`."""
    features: FeatureSettings = field(default_factory=FeatureSettings)
    """What frames are clustered by."""
    fraction: float | None = None
    """Fraction of the audio to fit on, in whole recordings. By default a tenth, but at least one hour and at most a
    hundred."""
    frames_a_cluster: int = 4000
    """Fitted frames are at most this many times `k` (this project's choice: a sample costs about one part in as many of
    the inertia, less than two fits with other seeds differ by). If the sample has more, an equal share of every
    recording's frames is kept, at random."""
    memory_megabytes: int = 1024
    """Memory for the fitted frames, of all processes together, which may allow fewer frames still."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: the GPU where there is one. MFCC are computed on the CPU."""
    threads: int = 0
    """Threads that read audio and compute MFCC; 0: one a processor. Results do not depend on it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require({"fraction": self.fraction}, above=0, most=1)
        require(named(self, "frames_a_cluster", "memory_megabytes"), least=1)
        require({"threads": self.threads}, least=0)
        piece = self.features.max_seconds + 2 * CONTEXT_SECONDS
        if self.features.kind == "encoder" and self.features.batch_seconds < piece:
            raise UserError(
                f"features.batch_seconds={self.features.batch_seconds:g} is less than a piece of features.max_seconds="
                f"{self.features.max_seconds:g} and a second on either side: give {piece:g}, or a smaller "
                "features.max_seconds"
            )


def kmeans_inputs(settings: KMeansSettings) -> Iterable[Path]:
    """Return the files that decide whether a fitted k-means is still current."""
    manifest = Path(settings.manifest)
    encoder = encoder_files(settings.features.encoder) if settings.features.encoder else []
    return [manifest, manifest.with_name(AUDIO), *encoder]


def kmeans_outputs(settings: KMeansSettings) -> Iterable[Path]:
    """Return the files that the stage makes."""
    return [Path(settings.out) / CENTROIDS, Path(settings.out) / DESCRIPTION]


def run_kmeans(settings: KMeansSettings) -> None:
    """Fit k-means on a sample of a manifest's audio and write it.

    Every process reads its share of the sample; the first one prints and writes.

    Raises:
        UserError: a recording that cannot be read, or too few frames for `k` clusters.
    """
    manifest = read_manifest(settings.manifest)
    fraction = settings.fraction or default_fraction(corpus_seconds(manifest))
    indices = sample_recordings(manifest, fraction, settings.seed)
    seconds = corpus_seconds(manifest, indices)
    with joined_processes() as processes:
        device = pick_device(settings.device)
        features = open_features(settings.features, device)
        fitting = settings.memory_megabytes * 2**20 // (_BYTES_A_VALUE * features.dim)
        most = max(1, min(settings.frames_a_cluster * settings.k, fitting))
        sample = FrameSample(manifest, features, indices, most, settings.seed)
        if sample.kept < settings.k:
            more = "memory_megabytes" if sample.kept < sample.total else "fraction" if fraction < 1 else ""
            raise UserError(
                f"k={settings.k} clusters need as many frames, and {sample.kept} are fitted: lower k"
                + (f", or raise {more}" if more else "")
            )
        if processes.first:
            print(
                f"k-means: fraction {fraction:.3g} of {manifest.file}: {seconds:.0f} s, {len(indices)} of "
                f"{len(manifest)} recordings, {sample.kept} of their {sample.total} frames fitted"
            )
        frames = sample.collect(reader_threads(settings.threads), device, processes)
        fitted = fit_kmeans(frames, settings, processes)
        if processes.first:
            info = KMeansInfo(
                k=settings.k,
                dim=features.dim,
                frame_rate=features.frame_rate,
                features=asdict(settings.features),
                encoder_sha256=features.checksum,
                seed=settings.seed,
                fraction=fraction,
                seconds=seconds,
                recordings=len(indices),
                frames=sample.kept,
                steps=fitted.steps,
                inertia=fitted.inertia,
                manifest=settings.manifest,
                manifest_sha256=checksum(settings.manifest),
            )
            file = write_kmeans(settings.out, fitted.centroids, info)
            print(f"k-means: inertia {fitted.inertia:.4f} a frame after {fitted.steps} mini-batches -> {file}")
