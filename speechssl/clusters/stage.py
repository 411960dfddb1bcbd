"""The stage `speechssl cluster`: from recordings to one cluster each."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from speechssl.clusters.embed import embed
from speechssl.clusters.fit import Clustering, fit_clustering, silhouettes
from speechssl.clusters.settings import ClusterSettings
from speechssl.data.columns import Columns, agreement, class_columns
from speechssl.data.labels import sidecar
from speechssl.data.manifest import AUDIO, Manifest, read_manifest
from speechssl.data.metadata import metadata_file
from speechssl.data.recording_labels import ClusterInfo, write_clusters
from speechssl.errors import UserError
from speechssl.files import checksum, whole_file, write_json
from speechssl.models.device import pick_device
from speechssl.models.load import encoder_files, load_encoder
from speechssl.settings import changed_fields

log = logging.getLogger(__name__)

MODEL = "clusters.safetensors"
QUALITY = "quality.json"

_RECORDINGS_A_COMPONENT = 10


def cluster_inputs(settings: ClusterSettings) -> Iterable[Path]:
    """Return the files that decide whether clusters are still current."""
    for manifest in map(Path, settings.manifests):
        yield from (manifest, manifest.with_name(AUDIO), metadata_file(manifest))
    yield from encoder_files(settings.encoder)


def cluster_outputs(settings: ClusterSettings) -> Iterable[Path]:
    """Return the files that the stage makes."""
    out = Path(settings.out)
    yield from (out / MODEL, out / QUALITY)
    for manifest in settings.manifests:
        labels = out / f"{Path(manifest).stem}.cluster"
        yield from (labels, sidecar(labels))


def run_cluster(settings: ClusterSettings) -> None:
    """Cluster the first manifest's recordings, label all, and write how well clusters agree with what is known.

    Raises:
        UserError: too few recordings, or one that cannot be read.
    """
    manifests = [read_manifest(manifest) for manifest in settings.manifests]
    # Before recordings are encoded, which takes long.
    candidates = _candidates(settings, manifests[0])
    columns = [class_columns(manifest) for manifest in manifests]
    encoder = load_encoder(settings.encoder)
    device = pick_device(settings.device)
    vectors = [embed(manifest, encoder, settings.clip_seconds, settings.max_seconds, device) for manifest in manifests]
    if len(vectors[0]) < _RECORDINGS_A_COMPONENT * settings.components:
        log.warning(
            "%s has %d recordings for components=%d: with fewer than ten a component clusters follow noise; lower it",
            manifests[0].file, len(vectors[0]), settings.components,
        )  # fmt: skip
    k, scores = _number_of_clusters(settings, vectors[0], candidates)
    clustering = fit_clustering(vectors[0], k, settings.components, settings.iterations, settings.seed)
    out = Path(settings.out)
    with whole_file(out / MODEL) as temporary:
        save_file({name: np.ascontiguousarray(value) for name, value in vars(clustering).items()}, temporary)
    quality: dict[str, Any] = {"k": k, "silhouette": {str(number): score for number, score in scores.items()}}
    for manifest, rows, known in zip(manifests, vectors, columns, strict=True):
        labels = clustering(rows)
        _write_labels(settings, manifest, labels, clustering)
        quality[manifest.file.stem] = _quality(manifest, labels, k, known)
    write_json(out / QUALITY, quality)
    _print(settings, quality, manifests[0].file.stem)


def _candidates(settings: ClusterSettings, manifest: Manifest) -> list[int]:
    """Return the numbers of clusters to choose from; raise a `UserError` for more than the recordings allow."""
    recordings = len(manifest)
    if settings.k is not None:
        if settings.k > recordings:
            raise UserError(f"k={settings.k} is more than the {recordings} recordings of {manifest.file}")
        return []
    fitting = [k for k in settings.candidates if k < recordings]
    if not fitting:
        raise UserError(f"{manifest.file} has {recordings} recordings, not more than any of candidates; give k=")
    if len(fitting) < len(settings.candidates) and "candidates" in changed_fields(settings):
        raise UserError(
            f"candidates={settings.candidates}: {max(settings.candidates)} is not less than the {recordings} "
            f"recordings of {manifest.file}; leave it out"
        )
    return fitting


def _number_of_clusters(
    settings: ClusterSettings, vectors: npt.NDArray[np.float32], candidates: list[int]
) -> tuple[int, dict[int, float]]:
    """Return the number of clusters, and the silhouettes that it was chosen by."""
    if settings.k is not None:
        return settings.k, {}
    scores = silhouettes(vectors, candidates, settings.components, settings.iterations, settings.seed)
    return max(scores, key=lambda k: (scores[k], -k)), scores


def _write_labels(
    settings: ClusterSettings, manifest: Manifest, labels: npt.NDArray[np.int64], clustering: Clustering
) -> None:
    out = Path(settings.out)
    info = ClusterInfo(clustering.k, settings.encoder, checksum(out / MODEL), checksum(manifest.file))
    write_clusters(out / f"{manifest.file.stem}.cluster", labels, info)


def _quality(manifest: Manifest, labels: npt.NDArray[np.int64], k: int, known: Columns) -> dict[str, Any]:
    """Return sizes of the clusters, and their agreement with every column of the metadata and with the length."""
    quarters = np.searchsorted(np.quantile(manifest.samples, [0.25, 0.5, 0.75]), manifest.samples)
    columns = {**known, "length in quarters": [str(quarter) for quarter in quarters]}
    return {
        "recordings": len(labels),
        "sizes": np.bincount(labels, minlength=k).tolist(),
        "columns": {name: agreement(labels, cells) for name, cells in columns.items()},
    }


def _print(settings: ClusterSettings, quality: dict[str, Any], split: str) -> None:
    how = "as given" if settings.k is not None else f"highest silhouette {quality['silhouette'][str(quality['k'])]:.3f}"
    sizes = quality[split]["sizes"]
    print(f"clusters: {quality['k']} ({how}), {min(sizes)} to {max(sizes)} recordings each, in {settings.out}")
    for name, found in quality[split]["columns"].items():
        if "nmi" in found:
            print(f"clusters: NMI with {name} {found['nmi']:.3f} ({found['values']} values)")
