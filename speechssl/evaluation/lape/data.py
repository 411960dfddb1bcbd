"""The clips of a task: recordings of a folder of `speechssl manifest` that have a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from speechssl.audio import SAMPLE_RATE
from speechssl.data.corpora import CorpusSettings
from speechssl.data.listing import ManifestSettings, make_manifests
from speechssl.data.tables import read_table
from speechssl.errors import UserError, nearest
from speechssl.evaluation.lape.settings import LapeSettings, LapeTask
from speechssl.evaluation.recordings import Recording, columns_of, read_recordings
from speechssl.files import changes, checksum_of

FOLDER = "folder"
"""Where the metadata have no column of this name, it is the folder that a recording is in."""
PART = "part"
"""Column of the part of the corpus, where it has some."""
MIN_SECONDS = 0.01
"""Shorter recordings are rejected where the manifest is made here: clips may be short, since they are padded."""


@dataclass
class TaskData:
    """The clips of a task, in order of their names."""

    recordings: list[Recording]
    """Those that have a class."""
    labels: npt.NDArray[np.int64]
    """Class of each, an index of `classes`."""
    classes: list[str]
    """Names of the classes, sorted."""
    left_out: list[dict[str, str]] = field(default_factory=list)
    """`what` is not among them, and the `reason`."""

    def column(self, name: str) -> list[str]:
        """Return the cells of a metadata column, empty where it is not known."""
        return [recording.labels.get(name, "") for recording in self.recordings]

    def fingerprint(self) -> str:
        """Return a checksum of names, lengths and classes, and of changes to the recordings."""
        rows = zip(self.recordings, self.labels.tolist(), strict=True)
        facts = [[recording.name, recording.samples, self.classes[label]] for recording, label in rows]
        return checksum_of([facts, changes(recording.audio for recording in self.recordings)])

    def lengths(self, seconds: float) -> dict[str, int]:
        """Return how many clips there are, and how many of them are padded or cut to be `seconds` long."""
        samples = np.array([recording.samples for recording in self.recordings])
        wanted = round(seconds * SAMPLE_RATE)
        return {
            "clips": len(samples),
            "padded": int((samples < wanted).sum()),
            "cut": int((samples > wanted).sum()),
        }


def data_folder(settings: LapeSettings) -> Path:
    """Return the folder with the task's manifests; they are made where the data set's own folder was given."""
    if settings.data_dir is not None:
        return Path(settings.data_dir)
    task = settings.task
    folder = Path(settings.out_dir) / "manifests" / task.name
    corpus = CorpusSettings(
        name=task.corpus, audio_dir=str(settings.corpus_dir), metadata=task.metadata, parts=list(task.parts)
    )
    # What is held out is the task's to say.
    make_manifests(ManifestSettings(corpus, str(folder), MIN_SECONDS, valid_fraction=0.0, workers=settings.workers))
    return folder


def read_task(folder: Path, task: LapeTask) -> TaskData:
    """Read the clips of a task.

    Raises:
        UserError: the metadata lack a column of the task, or fewer than two classes are there.
    """
    everything = read_recordings(folder)
    of_parts = _of_parts(everything, folder, task)
    found, left_out = _that_fit(of_parts, task), _rejected(folder)
    if len(of_parts) < len(everything):
        reason = f"not of {', '.join(task.parts)}"
        left_out.append({"what": f"{len(everything) - len(of_parts)} recordings", "reason": reason})
    if len(found) < len(of_parts):
        left_out.append({"what": f"{len(of_parts) - len(found)} recordings", "reason": f"not {_rule(task)}"})
    by_folder = task.column == FOLDER and FOLDER not in columns_of(everything)
    _require_columns(found, folder, task, by_folder)
    names = [_folder_of(recording) if by_folder else recording.labels.get(task.column, "") for recording in found]
    kept = [(recording, name) for recording, name in zip(found, names, strict=True) if name]
    if len(kept) < len(found):
        left_out.append({"what": f"{len(found) - len(kept)} recordings", "reason": f"no {task.column} known"})
    classes = sorted({name for _, name in kept})
    if len(classes) < 2:
        raise UserError(f"{folder} has {len(classes)} class in column {task.column}: task.column must tell two or more")
    index = {name: number for number, name in enumerate(classes)}
    labels = np.array([index[name] for _, name in kept])
    return TaskData([recording for recording, _ in kept], labels, classes, left_out)


def _of_parts(recordings: list[Recording], folder: Path, task: LapeTask) -> list[Recording]:
    """Return the recordings of the task's parts: a folder of `speechssl manifest` may have been made with others."""
    known = {recording.labels.get(PART, "") for recording in recordings} - {""}
    if not task.parts or not known:
        return recordings
    missing = sorted(set(task.parts) - known)
    if missing:
        raise UserError(
            f"{folder} has no recording of part {missing[0]} (it has {', '.join(sorted(known))}): mend task.parts, or "
            "give `speechssl manifest` this part too"
        )
    return [recording for recording in recordings if recording.labels.get(PART) in task.parts]


def _that_fit(recordings: Sequence[Recording], task: LapeTask) -> list[Recording]:
    # Cells are text; what looks like a number or a truth value on the command line is none here.
    wanted = {column: str(cell) for column, cell in (task.only or {}).items()}
    return [r for r in recordings if all(r.labels.get(column) == cell for column, cell in wanted.items())]


def _rule(task: LapeTask) -> str:
    return ", ".join(f"{column}={cell}" for column, cell in (task.only or {}).items())


def _rejected(folder: Path) -> list[dict[str, str]]:
    """Return how many recordings `speechssl manifest` rejected, by reason."""
    table = folder / "rejected.tsv"
    if not table.is_file():
        return []
    reasons = Counter(row["reason"].partition(":")[0] for row in read_table(table, ["path", "reason"]))
    return [
        {"what": f"{count} recordings rejected by the manifest", "reason": f"{reason} (rejected.tsv lists them)"}
        for reason, count in sorted(reasons.items())
    ]


def _require_columns(recordings: Sequence[Recording], folder: Path, task: LapeTask, by_folder: bool) -> None:
    if not recordings:
        raise UserError(f"{folder} has no recording with {_rule(task)}; mend task.only, or data_dir")
    known = columns_of(list(recordings))
    columns = {"column": task.column, "fold_column": task.fold_column}
    if task.group_column != LapeTask.group_column:  # the default need not be there
        columns["group_column"] = task.group_column
    for setting, column in columns.items():
        if column is not None and column not in known and not (setting == "column" and by_folder):
            raise UserError(
                f"{folder}/metadata.tsv has no column '{column}' with a value{nearest(column, known)} "
                f"(known: {', '.join(known) or 'none'}); mend task.{setting}, or give the data of corpus={task.corpus}"
            )


def _folder_of(recording: Recording) -> str:
    return PurePosixPath(recording.name).parent.name
