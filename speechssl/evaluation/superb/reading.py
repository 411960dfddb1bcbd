"""Where a task's utterances come from: csv files of one's own, or the official corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from speechssl.errors import UserError
from speechssl.evaluation.superb.beside import Line
from speechssl.evaluation.superb.corpora import CORPORA
from speechssl.evaluation.superb.corpora.layout import FOLDS, CorpusTask, Place
from speechssl.evaluation.superb.data import (
    Row,
    Table,
    TaskData,
    csv_files,
    located,
    read_csv,
    read_task,
    utterances_of,
)
from speechssl.evaluation.superb.folds import COLUMN, divide
from speechssl.evaluation.superb.settings import SuperbSettings
from speechssl.evaluation.superb.tasks import ALL_TASKS, parts_of


def columns_of(settings: SuperbSettings) -> Sequence[str]:
    """Return the label columns: those that were named, else the corpus's, else the task's."""
    if settings.labels:
        return settings.labels
    corpus = CORPORA.get(settings.task) if settings.corpus_dir is not None else None
    return (corpus and corpus.columns) or ALL_TASKS[settings.task].columns


def recording_columns(settings: SuperbSettings) -> Sequence[str]:
    """Return the label columns that name recordings."""
    return columns_of(settings) if ALL_TASKS[settings.task].recordings else ()


def recordings(settings: SuperbSettings) -> Iterator[Path]:
    """Yield all recordings that rows name; what is wrong with the rows, :func:`read_data` says.

    Raises:
        UserError: something of the corpus is missing, or a csv has no rows.
    """
    columns = ("path", *recording_columns(settings))
    for folder, row in _all_rows(settings):
        for cell in filter(None, (row.get(column) for column in columns)):
            yield located(folder, cell)


def _all_rows(settings: SuperbSettings) -> Iterator[tuple[Path, Row]]:
    """Yield every row, and the folder that its paths start from."""
    if settings.data_dir is not None:
        folds = _folds(settings)
        files = [folds] if folds else csv_files(settings.data_dir, parts=parts_of(settings.task))
        for table in (read_csv(file) for file in files if file.is_file()):
            yield from ((table.folder, row) for row in table.rows)
        return
    corpus, place = corpus_of(settings)
    corpus.require(settings.task, place)
    yield from ((place.root, row) for rows in corpus.rows(place).values() for row in rows)


def read_data(settings: SuperbSettings, sample: int | None = None) -> list[TaskData]:
    """Read the utterances of one task: one division, or in folds one for each.

    Args:
        settings: of the command.
        sample: audio files of each part that are looked at, see :func:`utterances_of`. None: all.

    Raises:
        UserError: something of the corpus is missing, or what is wrong with its rows or those of csv.
    """
    columns, named, task = columns_of(settings), recording_columns(settings), ALL_TASKS[settings.task]
    if settings.data_dir is not None:
        folds = _folds(settings)
        if folds:
            data = TaskData(Path(settings.data_dir), {})
            return divide(data, utterances_of(read_csv(folds), [*columns, COLUMN], sample, named))
        parts = parts_of(settings.task)
        return [read_task(settings.data_dir, columns, task.labelled, task.beside, parts, sample, named)]
    corpus, place = corpus_of(settings)
    corpus.require(settings.task, place)
    data = TaskData(place.root, {}, corpus.title)
    rows = corpus.rows(place)
    tables = {part: _table(data, part, of_part) for part, of_part in rows.items()}
    if FOLDS in tables:
        return divide(data, utterances_of(tables[FOLDS], [*columns, COLUMN], sample, named))
    of_parts = {
        part: utterances_of(table, columns if part in task.labelled else (), sample, named)
        for part, table in tables.items()
    }
    beside = {part: _lines(data, part, cells) for part, cells in corpus.read_beside(place, rows).items()}
    unsearched = corpus.unsearched(place) if corpus.unsearched else {}
    return [replace(data, parts=of_parts, beside=beside, unsearched=unsearched)]


def corpus_of(settings: SuperbSettings) -> tuple[CorpusTask, Place]:
    """Return the corpus of a task, and where it is below `corpus_dir`; something of it may be missing there.

    Raises:
        UserError: `corpus_dir` is no folder, or the task has no official corpus here.
    """
    if settings.task not in CORPORA:
        raise UserError(f"task={settings.task} reads no official corpus; give data_dir (with csv files)")
    corpus = CORPORA[settings.task]
    return corpus, corpus.place(str(settings.corpus_dir), settings.lexicons)


def input_files(settings: SuperbSettings) -> list[Path]:
    """Return the files that say which utterances there are."""
    if settings.data_dir is not None:
        folds = _folds(settings)
        beside = ALL_TASKS[settings.task].beside
        return [folds] if folds else csv_files(settings.data_dir, beside, parts_of(settings.task))
    corpus, place = corpus_of(settings)
    return corpus.files(place)


def _table(data: TaskData, part: str, rows: Sequence[Row]) -> Table:
    """Return the rows of a part by their names, so that their order is that of no disk."""
    if not rows:
        raise UserError(f"{data.name(part)}: no utterances are there; unpack the corpus again")
    ordered = sorted(rows, key=lambda row: row["id"])
    return Table(data.name(part), data.folder, ordered, "unpack the corpus again")


def _lines(data: TaskData, part: str, rows: Sequence[Row]) -> list[Line]:
    """Return what a part has beside its utterances, each with its number for messages."""
    return [Line(f"{data.name(part)}, number {number} beside it", row) for number, row in enumerate(rows, start=1)]


def _folds(settings: SuperbSettings) -> Path | None:
    """Return the csv of a task in folds, if it is one; what has a table beside its parts is not.

    Raises:
        UserError: the task has csv files of parts as well.
    """
    file = Path(str(settings.data_dir)) / f"{FOLDS}.csv"
    if not file.is_file() or ALL_TASKS[settings.task].beside is not None:
        return None
    parts = [other.name for other in csv_files(file.parent) if other.is_file()]
    if parts:
        raise UserError(f"{file} has all parts, and {', '.join(parts)} beside it too: keep {file.name} or the others")
    return file
