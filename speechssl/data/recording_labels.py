"""Labels of whole recordings, topics or clusters: one integer each, with a sidecar that says what they are."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from speechssl.data.labels import sidecar
from speechssl.data.manifest import Manifest
from speechssl.errors import UserError
from speechssl.files import checksum, read_json, require_file, whole_file, write_json, write_text


@dataclass(frozen=True)
class TopicInfo:
    """The sidecar `<split>.topic.json`."""

    topics: int
    """Number of topics: labels are 0 to topics - 1."""
    source: str
    """What the topics were made from."""
    model_sha256: str
    """Checksum of the topic model."""
    manifest_sha256: str
    """Checksum of the manifest whose utterances they label."""
    units_sha256: str
    """Checksum of the `.km` file that the documents were made from."""
    utterances: int = 0
    """Number of utterances."""
    sha256: str = ""
    """Checksum of the `.topic` file."""


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


Info = TypeVar("Info", TopicInfo, ClusterInfo)


@dataclass(frozen=True)
class TopicLabels:
    """Topics of one split."""

    labels: npt.NDArray[np.int64]
    """`(utterances,)` the most probable topic."""
    posteriors: npt.NDArray[np.float32]
    """`(utterances, topics)` probabilities, in their file until they are looked at."""
    info: TopicInfo
    """The sidecar."""
    file: Path
    """The `.topic` file."""

    def __len__(self) -> int:
        return len(self.labels)


def write_topics(
    path: str | Path, labels: npt.NDArray[np.integer], posteriors: npt.NDArray[np.floating], info: TopicInfo
) -> TopicInfo:
    """Write `<split>.topic`, its posteriors and its sidecar, each whole or not at all.

    Args:
        path: the `.topic` file.
        labels: `(utterances,)`.
        posteriors: `(utterances, topics)`.
        info: what the topics are; `utterances` and `sha256` are filled in here.

    Returns:
        The sidecar as written.
    """
    if posteriors.shape != (len(labels), info.topics):
        raise ValueError(f"posteriors are {posteriors.shape}, not ({len(labels)}, {info.topics})")
    sha256 = _write_lines(path, labels)
    with whole_file(_posteriors(path)) as temporary:
        np.save(temporary, posteriors.astype(np.float32), allow_pickle=False)
    return _write_sidecar(path, dataclasses.replace(info, utterances=len(labels), sha256=sha256))


def read_topics(path: str | Path) -> TopicLabels:
    """Read the topics of one split.

    Raises:
        UserError: a missing file, or files that do not belong together.
    """
    labels, info = _read(path, TopicInfo, "topics", "speechssl topics")
    file = _posteriors(path)
    try:
        posteriors = np.load(require_file(file), mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise UserError(f"{file} is broken ({error}); make the topics again") from error
    if posteriors.shape != (len(labels), info.topics):
        raise UserError(f"{path} and {file.name} do not belong together; make the topics again")
    return TopicLabels(labels, posteriors, info, Path(path))


def check_topics_fit(topics: TopicLabels, manifest: Manifest) -> None:
    """Raise a `UserError` unless the topics are those of the manifest's utterances."""
    if len(topics) != len(manifest):
        raise UserError(
            f"{topics.file} has {len(topics)} lines, {manifest.file} {len(manifest)}; make the topics again"
        )
    _require_same_manifest(topics.file, topics.info, manifest, "topics")


def write_clusters(path: str | Path, labels: npt.NDArray[np.integer], info: ClusterInfo) -> ClusterInfo:
    """Write `<split>.cluster` and its sidecar, each whole or not at all.

    Args:
        path: the `.cluster` file.
        labels: `(recordings,)`.
        info: what the labels are; `recordings` and `sha256` are filled in here.

    Returns:
        The sidecar as written.
    """
    sha256 = _write_lines(path, labels)
    return _write_sidecar(path, dataclasses.replace(info, recordings=len(labels), sha256=sha256))


def read_clusters(path: str | Path, manifest: Manifest) -> tuple[npt.NDArray[np.int64], ClusterInfo]:
    """Read the labels `(recordings,)` of a manifest's recordings, and what they are.

    Raises:
        UserError: a missing file, files that do not belong together, or labels of another manifest.
    """
    labels, info = _read(path, ClusterInfo, "clusters", "speechssl cluster")
    _require_same_manifest(path, info, manifest, "clusters")
    return labels, info


def _write_lines(path: str | Path, labels: npt.NDArray[np.integer]) -> str:
    """Write one label a line and return the file's checksum.

    The sidecar goes first: it is written last and checked on reading, so files of two runs are never mixed unseen.
    """
    sidecar(path).unlink(missing_ok=True)
    write_text(path, "".join(f"{label}\n" for label in labels.tolist()))
    return checksum(Path(path))


def _write_sidecar(path: str | Path, info: Info) -> Info:
    write_json(sidecar(path), dataclasses.asdict(info))
    return info


def _read(path: str | Path, kind: type[Info], what: str, made_by: str) -> tuple[npt.NDArray[np.int64], Info]:
    """Return labels and sidecar.

    Args:
        path: the file of labels.
        kind: class of its sidecar.
        what: they are, in the plural.
        made_by: the command.
    """
    path = require_file(path, made_by)
    try:
        info = kind(**read_json(sidecar(path)))
        labels = np.array(path.read_text(encoding="ascii").split(), dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} or its sidecar is broken ({error}); make the {what} again") from error
    if info.sha256 != checksum(path):
        raise UserError(f"{path} and its sidecar do not belong together; make the {what} again")
    return labels, info


def _require_same_manifest(path: str | Path, info: Info, manifest: Manifest, what: str) -> None:
    if info.manifest_sha256 != checksum(manifest.file):
        raise UserError(f"{manifest.file} has changed since {path} was made from it; make the {what} again")


def _posteriors(path: str | Path) -> Path:
    return Path(f"{path}.npy")
