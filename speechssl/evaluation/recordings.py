"""The recordings of a data folder: manifests, metadata and alignments together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from speechssl.audio import SAMPLE_RATE
from speechssl.data.alignments import Segment, read_alignments
from speechssl.data.manifest import read_manifest
from speechssl.data.metadata import FIXED_COLUMNS, METADATA, read_metadata
from speechssl.data.waveforms import read_listed
from speechssl.errors import UserError

SPLITS = ("train", "valid", "test")
"""Manifests that are read where `metadata.tsv` does not name the splits."""


@dataclass(frozen=True)
class Recording:
    """One utterance and what is known about it."""

    name: str
    """The manifest's path; random choices hang on it."""
    audio: Path
    """The audio file; identifies the recording among all folders."""
    samples: int
    """At 16 kHz."""
    split: str
    """Name of its manifest."""
    labels: dict[str, str]
    """Cells of the metadata that are known."""
    phones: tuple[Segment, ...] = ()
    """Phone times, where there are alignments."""

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
    metadata = read_metadata(folder / METADATA) if (folder / METADATA).is_file() else {}
    alignments = read_alignments(folder / "alignments.tsv") if (folder / "alignments.tsv").is_file() else {}
    splits = sorted({row["split"] for row in metadata.values() if row.get("split")}) or SPLITS
    found = [folder / f"{split}.tsv" for split in splits if (folder / f"{split}.tsv").is_file()]
    if not found:
        raise UserError(f"{folder} has no manifest ({', '.join(f'{s}.tsv' for s in splits)}); run `speechssl manifest`")
    recordings = []
    for file in found:
        manifest = read_manifest(file)
        for index, path in enumerate(manifest.paths):
            row = metadata.get(path, {})
            labels = {key: cell for key, cell in row.items() if cell and key not in FIXED_COLUMNS}
            phones = tuple(alignments.get(path, ()))
            samples = int(manifest.samples[index])
            recordings.append(Recording(path, manifest.audio_path(index), samples, file.stem, labels, phones))
    return sorted(recordings, key=lambda recording: (recording.name, str(recording.audio)))


def columns_of(recordings: list[Recording]) -> list[str]:
    """Return the names of all label columns that have a value somewhere, sorted."""
    return sorted({column for recording in recordings for column in recording.labels})
