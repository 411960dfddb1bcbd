"""A fitted k-means on disk: `kmeans.safetensors` (centroids) and `kmeans.json` (what they are and where from)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from speechssl.errors import UserError
from speechssl.files import checksum, read_json, require_file, whole_file, write_json

CENTROIDS = "kmeans.safetensors"
DESCRIPTION = "kmeans.json"


@dataclass(frozen=True)
class KMeansInfo:
    """What `kmeans.json` says."""

    k: int
    """Number of clusters."""
    dim: int
    """Values a frame."""
    frame_rate: float
    """Frames a second."""
    features: dict[str, Any]
    """The `FeatureSettings` of the frames."""
    encoder_sha256: str
    """Checksum of the encoder's weights; empty for MFCC."""
    seed: int
    """Seed of the fit."""
    fraction: float
    """Fraction of the manifest's audio that was asked for."""
    seconds: float
    """Seconds of audio that the fitted frames come from."""
    recordings: int
    """Recordings that the fitted frames come from."""
    frames: int
    """Frames fitted."""
    steps: int
    """Mini-batches taken."""
    inertia: float
    """Mean squared distance of a fitted frame to its centroid."""
    manifest: str
    """The manifest fitted on."""
    manifest_sha256: str
    """Its checksum."""
    sha256: str = ""
    """Checksum of `kmeans.safetensors`."""


@dataclass(frozen=True)
class KMeansModel:
    """A k-means as read."""

    centroids: Tensor
    """`(k, dim)` float32."""
    info: KMeansInfo
    """What they are."""
    file: Path
    """`kmeans.safetensors`."""


def write_kmeans(folder: str | Path, centroids: Tensor, info: KMeansInfo) -> Path:
    """Write a k-means into a folder, each file whole or not at all; return the file of centroids."""
    file = Path(folder) / CENTROIDS
    description = Path(folder) / DESCRIPTION
    # The description goes first and comes last: centroids are never read with another k-means' description.
    description.unlink(missing_ok=True)
    with whole_file(file) as temporary:
        save_file({"centroids": centroids.detach().cpu().float().contiguous()}, temporary)
    write_json(description, {**asdict(info), "sha256": checksum(file)})
    return file


def read_kmeans(folder: str | Path) -> KMeansModel:
    """Read a k-means.

    Raises:
        UserError: missing or broken files, or a description of other centroids.
    """
    file = require_file(Path(folder) / CENTROIDS, made_by="speechssl kmeans")
    description = require_file(Path(folder) / DESCRIPTION, made_by="speechssl kmeans")
    try:
        info = KMeansInfo(**read_json(description))
        centroids = load_file(file)["centroids"]
    except (TypeError, KeyError, SafetensorError) as error:
        raise UserError(
            f"{folder} holds no k-means of this version ({error}); fit it again (`speechssl kmeans`)"
        ) from error
    if info.sha256 != checksum(file) or tuple(centroids.shape) != (info.k, info.dim):
        raise UserError(f"{description} does not describe {file}; fit it again (`speechssl kmeans`)")
    return KMeansModel(centroids, info, file)
