"""Labels of whole recordings, one integer each, with a sidecar that says what they are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from speechssl.data.labels import sidecar
from speechssl.data.manifest import Manifest
from speechssl.errors import UserError
from speechssl.files import checksum, read_json, require_file, write_json, write_text


@dataclass(frozen=True)
class ClusterInfo:
    """The sidecar `<split>.cluster.json`."""

    k: int
    """Number of clusters: labels are 0 to k - 1."""
    source: str
    """The encoder whose features were clustered."""
    model_sha256: str
    """Checksum of the clustering that gave them."""
    manifest_sha256: str
    """Checksum of the manifest whose recordings they label."""
    recordings: int = 0
    """Number of lines."""
    sha256: str = ""
    """Checksum of the `.cluster` file."""


def write_clusters(path: str | Path, labels: npt.NDArray[np.integer], info: ClusterInfo) -> ClusterInfo:
    """Write `<split>.cluster` and its sidecar, each whole or not at all.

    Args:
        path: the `.cluster` file.
        labels: `(recordings,)`.
        info: what the labels are; `recordings` and `sha256` are filled in here.

    Returns:
        The sidecar as written.
    """
    # The sidecar is written last and checked on reading, so files of two runs are never mixed unseen.
    sidecar(path).unlink(missing_ok=True)
    write_text(path, "".join(f"{label}\n" for label in labels.tolist()))
    info = dataclasses.replace(info, recordings=len(labels), sha256=checksum(Path(path)))
    write_json(sidecar(path), dataclasses.asdict(info))
    return info


def read_clusters(path: str | Path, manifest: Manifest) -> tuple[npt.NDArray[np.int64], ClusterInfo]:
    """Read the labels `(recordings,)` of a manifest's recordings, and what they are.

    Raises:
        UserError: a missing file, files that do not belong together, or labels of another manifest.
    """
    path = require_file(path, made_by="speechssl cluster")
    try:
        info = ClusterInfo(**read_json(sidecar(path)))
        labels = np.array(path.read_text(encoding="ascii").split(), dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} or its sidecar is broken ({error}); make the clusters again") from error
    if info.sha256 != checksum(path) or len(labels) != info.recordings:
        raise UserError(f"{path} and its sidecar do not belong together; make the clusters again")
    if info.manifest_sha256 != checksum(manifest.file) or len(labels) != len(manifest):
        raise UserError(f"{manifest.file} has changed since {path} was made from it; make the clusters again")
    return labels, info
