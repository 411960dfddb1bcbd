"""What may be heard before a task is evaluated: its recordings without those that it tests.

Corpora without an official split have the recordings that a task tests among those of `train.tsv` and `valid.tsv`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from speechssl.data.manifest import AUDIO, read_manifest, unwatched_audio, write_manifest
from speechssl.data.metadata import METADATA
from speechssl.errors import UserError
from speechssl.evaluation.lape.data import read_task
from speechssl.evaluation.lape.settings import LapeTask, check_task, require_no_metadata
from speechssl.evaluation.lape.splits import divide
from speechssl.files import write_bytes

SPLITS = ("train", "valid")


@dataclass
class TrainingPartSettings:
    """Everything that `speechssl training_part` reads."""

    task: LapeTask = field(default_factory=LapeTask)
    """What will be evaluated. One that tests every fold in turn tests all recordings: then all are kept."""
    data_dir: str = MISSING
    """Folder of `speechssl manifest`."""
    out: str = MISSING
    """Folder for the same, without what is tested."""

    def __post_init__(self) -> None:
        if self.task.members:
            raise UserError("task=all has many data sets: name one task")
        check_task(self.task)
        require_no_metadata(self.task)
        if Path(self.out).resolve() == Path(self.data_dir).resolve():
            raise UserError(f"out={self.out} is data_dir, which stays as it is; give another folder")


def write_training_part(settings: TrainingPartSettings) -> None:
    """Write `train.tsv` and `valid.tsv` without tested recordings, with the metadata beside them, and say how many."""
    source, out = Path(settings.data_dir), Path(settings.out)
    tested, why = _tested(source, settings.task)
    out.mkdir(parents=True, exist_ok=True)
    kept = left_out = 0
    for split in _splits(source):
        manifest = read_manifest(source / f"{split}.tsv")
        rows = [row for row in range(len(manifest)) if manifest.audio_path(row) not in tested]
        if not rows:
            raise UserError(f"{manifest.file} has tested recordings only: nothing of it is left to train on")
        entries = ((manifest.paths[row], int(manifest.samples[row])) for row in rows)
        write_manifest(out / manifest.file.name, manifest.root, entries)
        kept += len(rows)
        left_out += len(manifest) - len(rows)
    for name in _beside(source):
        write_bytes(out / name, (source / name).read_bytes())
    # What an earlier command made of a split that is no longer there would be trained on.
    for split in set(SPLITS) - set(_splits(source)):
        (out / f"{split}.tsv").unlink(missing_ok=True)
    print(f"training_part: {kept} recordings in {out}, {left_out} left out; {settings.task.name} {why}")


def training_part_inputs(settings: TrainingPartSettings) -> Iterable[Path]:
    """Yield the files that decide what is left out."""
    source = Path(settings.data_dir)
    yield from (source / name for name in (*(f"{split}.tsv" for split in _splits(source)), METADATA, AUDIO))


def training_part_outputs(settings: TrainingPartSettings) -> Iterable[Path]:
    """Return the files that are made."""
    source = Path(settings.data_dir)
    names = [*(f"{split}.tsv" for split in _splits(source)), *_beside(source)]
    return [Path(settings.out) / name for name in names]


def training_part_audio(settings: TrainingPartSettings) -> Iterable[Path]:
    """Return the recordings whose changes none of the inputs tells."""
    source = Path(settings.data_dir)
    return unwatched_audio(*(source / f"{split}.tsv" for split in _splits(source)))


def _beside(source: Path) -> list[str]:
    """Return what lies beside the manifests; those that were made elsewhere may have nothing there."""
    return [name for name in (METADATA, AUDIO) if (source / name).is_file()]


def _splits(source: Path) -> list[str]:
    return [split for split in SPLITS if (source / f"{split}.tsv").is_file()]


def _tested(source: Path, task: LapeTask) -> tuple[set[Path], str]:
    """Return the recordings that the task tests, and how it does, in words."""
    data = read_task(source, task)
    divisions = divide(data, task)
    if len(divisions) > 1:
        return set(), f"tests every recording, in one of {len(divisions)} folds, so all are kept"
    (division,) = divisions
    return {data.recordings[row].audio for row in division.test}, f"tests {len(division.test)} ({division.name})"
