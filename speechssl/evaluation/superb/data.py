"""The utterances of a task: `train.csv`, `valid.csv` and `test.csv` in one folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechssl.audio import SAMPLE_RATE, AudioError, audio_length, read_audio
from speechssl.errors import UserError, nearest

PARTS = ("train", "valid", "test")
FIXED = ("id", "path", "start", "end")
"""Columns that are no labels."""


@dataclass(frozen=True)
class Utterance:
    """One line of a csv, and what is known of its audio."""

    name: str
    """`id`, unique in its part."""
    audio: Path
    samples: int
    """At 16 kHz, of the stretch that counts."""
    labels: Mapping[str, str]
    """The other columns."""
    first_sample: int = 0
    """Of the stretch in the file, at 16 kHz."""

    def read(self, gain: float = 1.0) -> Tensor:
        """Return `(samples,)`, scaled by `gain` and clipped to [-1, 1] as sox would.

        Raises:
            UserError: the file cannot be decoded, has values that are not finite, or is not as long as it was.
        """
        try:
            waveform = read_audio(self.audio)[self.first_sample : self.first_sample + self.samples]
        except AudioError as error:
            raise UserError(f"{self.audio} (utterance {self.name}): {error}; repair it or take its line out") from error
        if len(waveform) != self.samples:
            raise UserError(f"{self.audio} (utterance {self.name}) has changed while it was used; start again")
        if not torch.isfinite(waveform).all():
            raise UserError(f"{self.audio} (utterance {self.name}) holds values that are not finite; take its line out")
        return waveform.clone() if gain == 1.0 else torch.clamp(waveform * gain, -1.0, 1.0)


@dataclass(frozen=True)
class TaskData:
    """All utterances of a task."""

    folder: Path
    parts: Mapping[str, Sequence[Utterance]]
    """`train`, `valid` and `test`."""


def csv_files(folder: str | Path) -> list[Path]:
    """Return the files that a task of csv is."""
    return [Path(folder) / f"{part}.csv" for part in PARTS]


def read_task(folder: str | Path, columns: Sequence[str]) -> TaskData:
    """Read the three csv files of a task, and the length of every audio file.

    Args:
        folder: with `train.csv`, `valid.csv` and `test.csv`: `id`, `path` (absolute, or from the folder), the label
            columns; optional `start` and `end` in seconds, and any others, which are groups to report on.
        columns: labels that the task needs, none of them empty.

    Raises:
        UserError: a missing file or column, an id that is there twice, an empty label, or audio that is missing, broken
            or empty. All bad lines are counted, and the first few named.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"data_dir={folder} does not exist; it needs train.csv, valid.csv and test.csv")
    parts = {file.stem: _read_part(file, columns) for file in csv_files(folder)}
    return TaskData(folder, parts)


def _read_part(file: Path, columns: Sequence[str]) -> list[Utterance]:
    if not file.is_file():
        raise UserError(f"{file} is missing; a task needs train.csv, valid.csv and test.csv in one folder")
    with open(file, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        known = reader.fieldnames or []
        for column in ("id", "path", *columns):
            if column not in known:
                raise UserError(f"{file} has no column '{column}'{nearest(column, known)} (has: {', '.join(known)})")
        rows = list(reader)
    if not rows:
        raise UserError(f"{file} has no lines below its header")
    _require_good_rows(file, rows, columns)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(pool.map(lambda row: _utterance(file, row), rows))
    utterances = [item for item in found if isinstance(item, Utterance)]
    bad = [item for item in found if isinstance(item, str)]
    if bad:
        raise UserError(f"{file}: {_counted(bad)}; repair them or take their lines out")
    return utterances


def _require_good_rows(file: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    """Raise a `UserError` that names lines with an empty label or an id of another line."""
    bad = []
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        empty = [column for column in ("id", "path", *columns) if not (row[column] or "").strip()]
        if empty:
            bad.append(f"line {number} (id {row['id'] or 'missing'}) has no {', '.join(empty)}")
        elif row["id"] in seen:
            bad.append(f"line {number} has the id {row['id']} again")
        seen.add(row["id"])
    if bad:
        raise UserError(f"{file}: {_counted(bad)}; fill them in or take these lines out")


def _utterance(file: Path, row: Mapping[str, str]) -> Utterance | str:
    """Return one line's utterance, or what is wrong with it."""
    audio = Path(row["path"]).expanduser()
    audio = audio if audio.is_absolute() else file.parent / audio
    labels = {column: (cell or "").strip() for column, cell in row.items() if column and column not in FIXED}
    try:
        length = audio_length(audio)
        first, last = (_sample(row.get(name), default) for name, default in (("start", 0), ("end", length)))
    except (AudioError, ValueError) as error:
        return f"{row['id']} ({audio}): {error}"
    samples = min(last, length) - first
    if samples <= 0:
        return f"{row['id']} ({audio}): no audio between start and end"
    return Utterance(row["id"], audio, samples, labels, first)


def _sample(cell: str | None, default: int) -> int:
    return round(float(cell) * SAMPLE_RATE) if cell else default


def _counted(bad: Sequence[str], shown: int = 3) -> str:
    more = f" and {len(bad) - shown} more" if len(bad) > shown else ""
    return f"{len(bad)} bad lines: {'; '.join(bad[:shown])}{more}"
