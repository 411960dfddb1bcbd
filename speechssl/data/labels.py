"""Labels of frames (fairseq's `.km` format), with a sidecar that says what they are."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from speechssl.audio import SAMPLE_RATE
from speechssl.data.manifest import Manifest
from speechssl.errors import UserError
from speechssl.files import checksum, read_json, require_file, whole_file, write_json

TOLERANCE = 3
"""Frames that a label row may differ from seconds times frame rate.

A front end loses the part of its window that hangs over the end: up to 2.5 frames for MFCC (25 ms windows every 10 ms),
1.25 for HuBERT's convolutions at 50 Hz, 1.6 for filterbank frames stacked to 25 Hz.
"""


@dataclass(frozen=True)
class LabelInfo:
    """The sidecar `<split>.km.json`."""

    frame_rate: float
    """Labels a second."""
    k: int
    """Number of clusters: labels are 0 to k - 1."""
    source: str
    """What the labels were made from, e.g. `mfcc` or `exp/it1 layer 6`."""
    kmeans_sha256: str
    """Checksum of the k-means that gave them."""
    manifest_sha256: str
    """Checksum of the manifest whose utterances they label."""
    audio_sha256: str = ""
    """Checksum of `audio.json` beside the manifest; empty where there was none."""
    version: str = ""
    """Version of speechssl that made them."""
    utterances: int = 0
    """Number of rows."""
    sha256: str = ""
    """Checksum of the `.km` file."""

    @property
    def bare(self) -> bool:
        """Whether there is no sidecar: `k` is then the largest label plus one, and may differ from split to split."""
        return not self.source


class FrameLabels:
    """Rows of a `.km` file, read when they are asked for: only their places in the file are held in memory.

    Args:
        path: the file.
        version: `_version` of it when its rows were found.
        info: its sidecar.
        starts: `(utterances + 1,)` where rows start, and where the last one ends.
        counts: `(utterances,)` labels of each row.
    """

    def __init__(
        self,
        path: Path,
        version: tuple[int, ...],
        info: LabelInfo,
        starts: npt.NDArray[np.int64],
        counts: npt.NDArray[np.int64],
    ) -> None:
        self.path = path
        self.info = info
        self.counts = counts
        """`(utterances,)` labels of each row."""
        self._version = version
        self._starts = starts

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: int) -> npt.NDArray[np.int32]:
        """Return `(frames,)` int32 labels of one utterance.

        Raises:
            UserError: the file is another one by now, or the row holds something other than labels.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        # Opened anew each time, so that threads and forked processes share no file position.
        with open(self.path, "rb") as file:
            if _version(os.fstat(file.fileno())) != self._version:
                raise UserError(f"{self.path} has changed while it was being read; run the same command again")
            file.seek(self._starts[index])
            row = file.read(self._starts[index + 1] - self._starts[index])
        return self._parse(row, index)

    def _parse(self, row: bytes, index: int) -> npt.NDArray[np.int32]:
        try:
            # numpy's own parser is far faster, but reads broken text, and an empty line, as numbers.
            plain = row[:1].isdigit() and not row.translate(None, b"0123456789 \n")
            labels = np.fromstring(row, dtype=np.int64, sep=" ") if plain else np.array(row.split(), dtype=np.int64)
        except (ValueError, OverflowError) as error:
            raise UserError(f"{self.path} line {index + 1} holds something other than whole numbers") from error
        if len(labels) and not 0 <= labels.min() <= labels.max() < min(self.info.k, 2**31):
            raise UserError(f"{self.path} line {index + 1} holds labels outside 0 to {self.info.k - 1}; label again")
        return labels.astype(np.int32)


def write_labels(path: str | Path, rows: Iterable[npt.NDArray[Any]], info: LabelInfo) -> LabelInfo:
    """Write `<split>.km` and its sidecar, both whole or not at all, one row at a time.

    Args:
        path: the `.km` file.
        rows: integer labels `(frames,)` of every utterance in the manifest's order.
        info: what the labels are; `utterances` and `sha256` are filled in here.

    Returns:
        The sidecar as written.
    """
    digest = hashlib.sha256()
    utterances = 0
    with whole_file(path) as temporary:
        with open(temporary, "wb") as file:
            for row in rows:
                line = " ".join(map(str, row.tolist())).encode() + b"\n"
                file.write(line)
                digest.update(line)
                utterances += 1
        # The old sidecar goes first: labels without one are an error to see, with a wrong one a riddle.
        sidecar(path).unlink(missing_ok=True)
    info = dataclasses.replace(info, utterances=utterances, sha256=digest.hexdigest())
    write_json(sidecar(path), dataclasses.asdict(info))
    return info


def read_labels(path: str | Path, frame_rate: float | None = None) -> FrameLabels:
    """Open a `.km` file.

    Args:
        path: the `.km` file.
        frame_rate: labels a second, needed where there is no sidecar (labels made with fairseq). Where there is one,
            it must agree.

    Where there is no sidecar, the number of clusters is one more than the largest label.

    Raises:
        UserError: a missing file, no sidecar and no frame rate, a frame rate that differs from the sidecar's, or
            labels changed since the sidecar was written.
    """
    path = require_file(path, made_by="speechssl label")
    described = sidecar(path).is_file()
    version = _version(path.stat())
    starts, counts, sha256 = _scan(path, _count_written if described else _count)
    if described:
        info = _read_info(path)
        if info.sha256 != sha256 or info.utterances != len(counts):
            raise UserError(f"{path} is not the file that {sidecar(path).name} describes; label again")
        if frame_rate not in (None, info.frame_rate):
            raise UserError(
                f"{path} was made with frame_rate {info.frame_rate:g}, not {frame_rate:g}; "
                "leave the setting out or label again"
            )
    elif frame_rate is None:
        raise UserError(
            f"{path} has no {sidecar(path).name}: give its frame rate as label_rate, `pretrain` as data.label_rate "
            "(100 for MFCC, 50 for HuBERT layers)"
        )
    else:
        info = LabelInfo(frame_rate, _largest(path) + 1, "", "", "", utterances=len(counts), sha256=sha256)
    return FrameLabels(path, version, info, starts, counts)


def check_labels_fit(labels: FrameLabels, manifest: Manifest) -> None:
    """Raise a `UserError` unless the labels are those of the manifest's audio."""
    path, info = labels.path, labels.info
    if len(labels) != len(manifest):
        raise UserError(f"{path} has {len(labels)} lines and {manifest.file} {len(manifest)} utterances; label again")
    expected = manifest.samples / SAMPLE_RATE * info.frame_rate
    wrong = np.flatnonzero(np.abs(labels.counts - expected) > TOLERANCE)
    if len(wrong):
        first = int(wrong[0])
        raise UserError(
            f"{path} line {first + 1} has {labels.counts[first]} labels for {manifest.paths[first]}, which has "
            f"{manifest.samples[first] / SAMPLE_RATE:.2f} s: about {expected[first]:.0f} at {info.frame_rate:g} Hz "
            f"({len(wrong)} of {len(labels)} utterances differ); check the frame rate, or label again"
        )
    if info.manifest_sha256 and info.manifest_sha256 != checksum(manifest.file):
        raise UserError(f"{manifest.file} has changed since {path} was made from it; label again")


def sidecar(path: str | Path) -> Path:
    """Return the path of the JSON file beside a label file."""
    return Path(f"{path}.json")


def _version(status: os.stat_result) -> tuple[int, ...]:
    """Return what differs between a file and one that is made anew in its place."""
    # Not by its inode: some network drives give a file another one while it is in use.
    return status.st_size, status.st_mtime_ns


def _scan(path: Path, count: Callable[[bytes], int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], str]:
    """Return where rows start (and the last ends), how many labels each has by `count`, and the file's checksum."""
    digest = hashlib.sha256()
    starts, counts = array("q", [0]), array("q")
    with open(path, "rb") as file:
        for line in file:
            digest.update(line)
            starts.append(starts[-1] + len(line))
            counts.append(count(line))
    return np.array(starts, dtype=np.int64), np.array(counts, dtype=np.int64), digest.hexdigest()


def _count(line: bytes) -> int:
    return len(line.split())


def _count_written(line: bytes) -> int:
    """Return the labels of a line of :func:`write_labels`, in a tenth of the time."""
    return line.count(b" ") + (line != b"\n")


def _largest(path: Path) -> int:
    with open(path, "rb") as file:
        try:
            return max((max(map(int, line.split()), default=-1) for line in file), default=-1)
        except ValueError as error:
            raise UserError(f"{path} holds something other than whole numbers") from error


def _read_info(path: Path) -> LabelInfo:
    try:
        return LabelInfo(**read_json(sidecar(path)))
    except TypeError as error:
        raise UserError(f"{sidecar(path)} is not a sidecar of labels ({error}); label again") from error
