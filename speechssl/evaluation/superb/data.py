"""The utterances of a task: rows of `train.csv`, `valid.csv` and `test.csv` in one folder, or of a corpus."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechssl.audio import SAMPLE_RATE, AudioError
from speechssl.audio.header import read_header
from speechssl.audio.stretch import read_stretch
from speechssl.errors import UserError, nearest
from speechssl.evaluation.superb.beside import Beside, Line
from speechssl.evaluation.superb.cells import read_cells, require_none_bad
from speechssl.evaluation.superb.paths import RealPaths
from speechssl.evaluation.superb.remarks import SHARED, Remarks, remarks_on
from speechssl.files import changes
from speechssl.threads import available_cores

PARTS = ("train", "valid", "test")
FIXED = ("id", "path", "start", "end")
"""Columns that are no labels."""

_UNHEARD = 1 << 48
"""Samples of an utterance whose audio was not looked at and whose end is not named: more than any has."""

_BEYOND = 0.1
"""Seconds that an end may lie behind that of the file: times are rounded."""

_TESTED = {"test": ("train", "valid"), "test_queries": ("valid_queries",)}
"""Parts that are tested, and those that heads, or layers of a search, are learnt from or chosen on."""

Row = Mapping[str, str]
"""`id`, `path`, labels; optional `start` and `end` in seconds, and any others, which are groups to report on."""


@dataclass(frozen=True)
class Utterance:
    """One row of a part, and what is known of its audio."""

    name: str
    """`id`, unique in its part."""
    audio: Path
    samples: int
    """At 16 kHz, of the stretch that counts."""
    labels: Mapping[str, str]
    """The other columns."""
    first_sample: int = 0
    """Of the stretch in the file, at 16 kHz."""
    remarks: tuple[str, ...] = ()
    """What is unusual about it, though it is scored: kinds of :mod:`speechssl.evaluation.superb.remarks`."""
    heard: bool = True
    """Whether its audio was looked at; else its end may lie behind that of the file."""

    @property
    def stretch(self) -> tuple[int, int]:
        """Its first sample in the file, and the one after its last."""
        return self.first_sample, self.first_sample + self.samples

    def read(self, gain: float = 1.0) -> Tensor:
        """Return `(samples,)`, scaled by `gain` and clipped to [-1, 1] as sox would.

        Raises:
            UserError: the file cannot be decoded, has values that are not finite, or is not as long as it was.
        """
        try:
            waveform, _ = read_stretch(self.audio, self.first_sample, self.samples)
        except AudioError as error:
            raise UserError(f"{self.audio} (utterance {self.name}): {error}; repair it or take its line out") from error
        if len(waveform) != self.samples:
            raise UserError(f"{self.audio} (utterance {self.name}) has changed while it was used; start again")
        return waveform.clone() if gain == 1.0 else torch.clamp(waveform * gain, -1.0, 1.0)


@dataclass(frozen=True)
class Unsearched:
    """What the official scoring of a search counts as searched with nothing found: other languages than the task's."""

    queries: int = 0
    """Those that are in a document."""
    documents: int = 0


@dataclass(frozen=True)
class TaskData:
    """All utterances of a task."""

    folder: Path
    parts: Mapping[str, Sequence[Utterance]]
    """`train`, `valid` and `test`; where nothing is trained `valid_queries`, `valid_documents` and so on."""
    corpus: str = ""
    """Title of the corpus, where they are not from csv."""
    fold: str = ""
    """The one that is tested, of a task in folds."""
    whole: Sequence[Utterance] = ()
    """All utterances of a task in folds: they are encoded once, and the parts are taken from them."""
    beside: Mapping[str, Sequence[Line]] = field(default_factory=dict)
    """What a part has beside its utterances: trials, who speaks when, or matches of queries."""
    unsearched: Mapping[str, Unsearched] = field(default_factory=dict)
    """Of a search, by its part."""
    _fingerprints: dict[tuple[str, ...], str] = field(init=False, repr=False, compare=False, default_factory=dict)

    def name(self, part: str) -> str:
        """Return what messages call a part."""
        return f"{self.corpus} ({self.folder}), {part}" if self.corpus else str(self.folder / f"{part}.csv")

    def recording(self, cell: str) -> Path:
        """Return the recording that a label names."""
        return located(self.folder, cell)

    def remarks(self) -> Remarks:
        """Return all utterances that are scored although something about them is unusual."""
        found: dict[str, dict[str, dict[str, str]]] = {}
        # The parts of a task in folds are others in each division.
        for part, utterances in ({"folds": self.whole} if self.whole else self.parts).items():
            for item in utterances:
                for kind in item.remarks:
                    found.setdefault(kind, {}).setdefault(part, {})[item.name] = str(item.audio)
        return found

    def fingerprint(self, recordings: Sequence[str]) -> str:
        """Return a checksum of all names, stretches and labels, of what is beside them, and of changes to recordings.

        They are looked at once, however many encoders ask.

        Args:
            recordings: label columns that name recordings.
        """
        columns = tuple(recordings)
        if columns not in self._fingerprints:
            self._fingerprints[columns] = self._fingerprint(columns)
        return self._fingerprints[columns]

    def _fingerprint(self, recordings: Sequence[str]) -> str:
        digest = hashlib.sha256(self.fold.encode())
        for part, utterances in self.parts.items():
            for item in utterances:
                facts = [part, item.name, str(item.audio), item.first_sample, item.samples, dict(item.labels)]
                digest.update(json.dumps(facts).encode())
            named = (self.recording(item.labels[column]) for item in utterances for column in recordings)
            digest.update(changes({*(item.audio for item in utterances), *named}).encode())
        for part, lines in self.beside.items():
            digest.update(json.dumps([part, [dict(line.cells) for line in lines]]).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Table:
    """The rows of one part, before their audio is looked at."""

    name: str
    """What messages call it."""
    folder: Path
    """Where a path starts from that is not absolute."""
    rows: Sequence[Row]
    advice: str
    """What to do about bad rows."""
    lines: Sequence[int] = ()
    """The number of the line that each begins on, in a file that has such."""


def located(folder: Path, cell: str) -> Path:
    """Return the file that a cell names, absolute or from a folder."""
    # Path.expanduser raises where there is no such user.
    return folder / os.path.expanduser(cell.strip())


def remark_shared(utterances: Sequence[Utterance], others: Iterable[Utterance]) -> list[Utterance]:
    """Return the utterances, with a remark on those whose stretch of a recording is (or a part of it) in an other one.

    Args:
        utterances: that are tested.
        others: that are learnt from, or that something is chosen on.
    """
    stretches: dict[str, list[tuple[int, int]]] = {}
    real_path = RealPaths()
    for item in others:
        stretches.setdefault(real_path(item.audio), []).append(item.stretch)

    def is_shared(item: Utterance) -> bool:
        first, end = item.stretch
        known = stretches.get(real_path(item.audio), ())
        return any(start < end and first < stop for start, stop in known)

    return [replace(item, remarks=(*item.remarks, SHARED)) if is_shared(item) else item for item in utterances]


def csv_files(folder: str | Path, beside: Beside | None = None, parts: Sequence[str] = PARTS) -> list[Path]:
    """Return the files that a task of csv is."""
    return [*_part_files(folder, parts), *(beside.files(folder) if beside else [])]


def _part_files(folder: str | Path, parts: Sequence[str]) -> list[Path]:
    return [Path(folder) / f"{part}.csv" for part in parts]


def read_task(
    folder: str | Path,
    columns: Sequence[str],
    labelled: Sequence[str] = PARTS,
    beside: Beside | None = None,
    parts: Sequence[str] = PARTS,
    sample: int | None = None,
    recordings: Sequence[str] = (),
) -> TaskData:
    """Read the csv files of a task, and the length of every audio file.

    Args:
        folder: with a file `<part>.csv` for each part, whose lines are a :data:`Row` each; a path is absolute, or from
            the folder.
        columns: labels that the task needs, none of them empty.
        labelled: parts that need them.
        beside: another table that the task reads.
        parts: of the task.
        sample: audio files of each part that are looked at, see :func:`utterances_of`.
        recordings: columns that name recordings.

    The utterances of a part are in the order of their names, whatever that of the lines is.

    Raises:
        UserError: a missing file, or what is wrong with its rows, see :func:`utterances_of`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        names = ", ".join(file.name for file in csv_files(folder, beside, parts))
        raise UserError(f"data_dir={folder} does not exist; it needs {names}")
    utterances = {
        file.stem: utterances_of(read_csv(file), columns if file.stem in labelled else (), sample, recordings)
        for file in _part_files(folder, parts)
    }
    ordered = {part: sorted(found, key=lambda item: item.name) for part, found in utterances.items()}
    for part, others in _TESTED.items():
        if part in ordered:
            ordered[part] = remark_shared(ordered[part], [item for other in others for item in ordered[other]])
    return TaskData(folder, ordered, beside=beside.read(folder) if beside else {})


def read_csv(file: Path) -> Table:
    """Read the rows of a csv file.

    Raises:
        UserError: no such file, no rows in it, or what is wrong with it, see :func:`read_cells`.
    """
    if not file.is_file():
        raise UserError(f"{file} is missing; it needs the columns id, path and the labels of the task")
    rows = read_cells(file)
    if not rows:
        raise UserError(f"{file} has no lines below its header")
    return Table(str(file), file.parent, list(rows.values()), "mend them or take their lines out", list(rows))


def utterances_of(
    table: Table, columns: Sequence[str], sample: int | None = None, recordings: Sequence[str] = ()
) -> list[Utterance]:
    """Return the utterances of a part; the length of every audio file is read.

    Args:
        table: its rows.
        columns: labels that it needs, none of them empty.
        sample: audio files that are looked at, spread evenly over the rows; the others must be there. None: all.
        recordings: columns that name recordings. In all other labels, words are separated by single spaces: s3prl's
            scores split there.

    Raises:
        UserError: a missing column, an id that is there twice, an empty label, or audio that is missing, broken, cut
            off, empty, or ends long before its row does. All bad rows are counted, and the first few named.
    """
    known = [column for column in table.rows[0] if column]
    for column in ("id", "path", *columns):
        if column not in known:
            raise UserError(f"{table.name} has no column '{column}'{nearest(column, known)} (has: {', '.join(known)})")
    require_none_bad(table.name, _bad_rows(table, columns), table.advice)
    count = len(table.rows)
    heard = set(range(count) if sample is None else np.linspace(0, count - 1, min(sample, count)).round().tolist())
    with ThreadPoolExecutor(available_cores()) as pool:
        read = pool.map(
            lambda number: _utterance(table.folder, table.rows[number], number in heard, recordings), range(count)
        )
        found = list(read)
    require_none_bad(table.name, [item for item in found if isinstance(item, str)], table.advice)
    return [item for item in found if isinstance(item, Utterance)]


def _bad_rows(table: Table, columns: Sequence[str]) -> list[str]:
    """Return what is wrong with rows that have an empty label or the id of another row."""
    bad = []
    seen: set[str] = set()
    for number, row in enumerate(table.rows):
        name = f"id {row['id'] or 'missing'}, {row['path'] or 'no path'}"
        place = f"line {table.lines[number]} ({name})" if table.lines else name
        empty = [column for column in ("id", "path", *columns) if not (row[column] or "").strip()]
        if empty:
            bad.append(f"{place} has no {', '.join(empty)}")
        elif row["id"].strip() in seen:
            bad.append(f"{place} is there again")
        seen.add(row["id"].strip())
    return bad


def _utterance(folder: Path, row: Row, heard: bool, recordings: Sequence[str]) -> Utterance | str:
    """Return one row's utterance, or what is wrong with it; its audio is looked at where it is `heard`."""
    name, audio = row["id"].strip(), located(folder, row["path"])
    labels = {
        column: (cell or "").strip() if column in recordings else " ".join((cell or "").split())
        for column, cell in row.items()
        if column and column not in FIXED
    }
    if not os.path.isfile(audio):
        return f"{name} ({audio}): no such file"
    try:
        first, last = _sample(row.get("start"), 0), _sample(row.get("end"), _UNHEARD)
        if last <= first:
            return f"{name} ({audio}): no audio between start and end"
        if not heard:
            return Utterance(name, audio, last - first, labels, first, heard=False)
        header = read_header(audio)
        samples = min(last, header.samples) - first
        if samples <= 0:
            return f"{name} ({audio}): no audio between start and end"
        if header.samples + _BEYOND * SAMPLE_RATE < last < _UNHEARD:
            seconds = header.samples / SAMPLE_RATE
            return f"{name} ({audio}): ends at {row['end']} s, but its file at {seconds:.2f} s"
        return Utterance(name, audio, samples, labels, first, remarks_on(audio, header, first, samples))
    except (AudioError, ValueError) as error:
        return f"{name} ({audio}): {error}"


def _sample(cell: str | None, default: int) -> int:
    if not cell:
        return default
    seconds = float(cell)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"start and end must be seconds from 0 on, not {cell}")
    return round(seconds * SAMPLE_RATE)
