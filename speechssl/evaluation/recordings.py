"""The recordings of a data folder: manifests, metadata and alignments together."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from speechssl.audio import SAMPLE_RATE
from speechssl.data.alignments import Segment, read_alignments
from speechssl.data.manifest import AUDIO, read_manifest
from speechssl.data.metadata import FIXED_COLUMNS, METADATA
from speechssl.data.tables import read_table
from speechssl.data.waveforms import read_listed
from speechssl.errors import UserError

SPLITS = ("train", "valid", "test")
"""Manifests that are read where `metadata.tsv` does not name the splits."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One utterance and what is known about it. A corpus may have millions, of which few are used."""

    name: str
    """The manifest's path; random choices hang on it."""
    root: Path
    """Folder that the path starts from."""
    samples: int
    """At 16 kHz."""
    split: str
    """Name of its manifest."""
    labels: dict[str, str]
    """Cells of the metadata that are known."""
    phones: tuple[Segment, ...] = ()
    """Phone times, where there are alignments."""

    @property
    def audio(self) -> Path:
        """The audio file; identifies the recording among all folders."""
        return self.root / self.name

    @property
    def place(self) -> tuple[str, str]:
        """What recordings are put in order by: the name, then the file."""
        return self.name, os.path.join(self.root, self.name)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.samples / SAMPLE_RATE

    def read(self) -> Tensor:
        """Return the waveform `(samples,)`.

        Raises:
            UserError: audio cannot be read, or is not as long as its manifest says.
        """
        return read_listed(self.audio, self.samples, "the task's data")


def read_recordings(folder: str | Path) -> list[Recording]:
    """Read all splits of a folder made by `speechssl manifest`, in order of their paths.

    Raises:
        UserError: no such folder, no manifest in it, or a broken file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"the data folder {folder} does not exist; make it with `speechssl manifest`")
    labels, named = _read_labels(folder / METADATA)
    alignments = read_alignments(folder / "alignments.tsv") if (folder / "alignments.tsv").is_file() else {}
    splits = sorted(named) or SPLITS
    found = [folder / f"{split}.tsv" for split in splits if (folder / f"{split}.tsv").is_file()]
    if not found:
        raise UserError(f"{folder} has no manifest ({', '.join(f'{s}.tsv' for s in splits)}); run `speechssl manifest`")
    recordings = []
    for file in found:
        manifest = read_manifest(file)
        split = file.stem
        for path, samples in zip(manifest.paths, manifest.samples.tolist(), strict=True):
            phones = tuple(alignments.get(path, ()))
            recordings.append(Recording(path, manifest.root, samples, split, labels.get(path, {}), phones))
    return sorted(recordings, key=lambda recording: recording.place)


def unwatched_recordings(folder: str | Path) -> Iterator[Path]:
    """Yield the audio files of a folder; none where `audio.json` changes with them."""
    if not (Path(folder) / AUDIO).is_file():
        yield from (recording.audio for recording in read_recordings(folder))


def columns_of(recordings: list[Recording]) -> list[str]:
    """Return the names of all label columns that have a value somewhere, sorted."""
    return sorted({column for recording in recordings for column in recording.labels})


def _read_labels(file: Path) -> tuple[dict[str, dict[str, str]], set[str]]:
    """Return the known labels of each path of a `metadata.tsv`, and the splits; nothing where there is none.

    A cell that many rows have is in memory once.
    """
    labels, splits = {}, set()
    for row in read_table(file, ["path"], made_by="speechssl manifest") if file.is_file() else ():
        splits.add(row.get("split", ""))
        known = {key: sys.intern(cell) for key, cell in row.items() if cell and key not in FIXED_COLUMNS}
        labels[row["path"]] = known
    return labels, splits - {""}
