"""Tables that stand beside the utterances of a task: trials, who speaks when, or which query is in which document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechssl.errors import UserError, nearest
from speechssl.evaluation.superb.cells import read_cells
from speechssl.files import read_lines, require_utf8


@dataclass(frozen=True)
class Line:
    """One line of such a table."""

    place: str
    """File and line, for messages."""
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Beside:
    """A table that parts of a task have in files of their own."""

    name: str
    """`trials` is in `<part>_trials.csv`."""
    columns: tuple[str, ...]
    parts: tuple[str, ...]
    """Those that have one."""
    rttm: bool = False
    """Whether `<part>_<name>.rttm` may stand for it; its columns are `id`, `start`, `end` and `speaker` then."""

    def files(self, folder: str | Path) -> list[Path]:
        """Return the file of each part."""
        return [self._file(Path(folder), part) for part in self.parts]

    def read(self, folder: Path) -> dict[str, list[Line]]:
        """Return the lines of each part.

        Raises:
            UserError: a file or column is missing, a file has no lines or is not UTF-8, a line of RTTM is cut off, or
                what is wrong with a csv file, see :func:`read_cells`.
        """
        return {part: self._lines(self._file(folder, part)) for part in self.parts}

    def _file(self, folder: Path, part: str) -> Path:
        table, rttm = (folder / f"{part}_{self.name}.{ending}" for ending in ("csv", "rttm"))
        return rttm if self.rttm and rttm.is_file() and not table.is_file() else table

    def _lines(self, file: Path) -> list[Line]:
        if not file.is_file():
            or_rttm = f" (or {file.stem}.rttm)" if self.rttm else ""
            raise UserError(f"{file}{or_rttm} is missing; it needs the columns {', '.join(self.columns)}")
        with require_utf8(file):
            lines = list(rttm_lines(file) if file.suffix == ".rttm" else _csv_lines(file, self.columns))
        if not lines:
            raise UserError(f"{file} has no {self.name}")
        return lines


def _csv_lines(file: Path, columns: Sequence[str]) -> Iterator[Line]:
    for number, row in read_cells(file).items():
        for column in columns:
            if column not in row:
                raise UserError(f"{file} has no column '{column}'{nearest(column, row)} (has: {', '.join(row)})")
        yield Line(f"{file}, line {number}", {column: row[column].strip() for column in columns})


def rttm_lines(file: Path) -> Iterator[Line]:
    """Yield the lines of NIST's format that say who speaks (`id`, `start`, `end`, `speaker`); it has other kinds too.

    Raises:
        UserError: a line is cut off.
    """
    for number, text in enumerate(read_lines(file), start=1):
        fields = text.split()
        if fields[:1] != ["SPEAKER"]:
            continue
        place = f"{file}, line {number}"
        try:
            name, start, duration, speaker = fields[1], float(fields[3]), float(fields[4]), fields[7]
        except (IndexError, ValueError) as error:
            raise UserError(
                f"{place}: 'SPEAKER', recording, channel, start, duration, two blanks and speaker are needed"
            ) from error
        yield Line(place, {"id": name, "start": str(start), "end": str(start + duration), "speaker": speaker})
