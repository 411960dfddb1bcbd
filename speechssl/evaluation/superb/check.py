"""`check=true`: what of each task's data is there, what is missing, and where to get it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from speechssl.errors import UserError
from speechssl.evaluation.superb.corpora import CORPORA
from speechssl.evaluation.superb.corpora.layout import Parts
from speechssl.evaluation.superb.reading import corpus_of, input_files, read_data, recording_columns
from speechssl.evaluation.superb.settings import ALL, SuperbSettings
from speechssl.evaluation.superb.tasks import ALL_TASKS


def check_tasks(settings: SuperbSettings) -> None:
    """Print what is there of one task or all, and run nothing.

    Raises:
        UserError: `corpus_dir` is no folder.
    """
    for task in corpus_tasks() if settings.task == ALL else [settings.task]:
        one = settings.of_task(task)
        lines = _csv_lines(one) if one.data_dir is not None else _corpus_lines(one)
        print(f"{task} ({ALL_TASKS[task].title})")
        for kind, what in lines:
            print(f"  {kind:8} {what}")


def corpus_tasks() -> list[str]:
    """Return the names of the tasks that have an official corpus."""
    return [task for task in ALL_TASKS if task in CORPORA]


def _csv_lines(settings: SuperbSettings) -> Iterator[tuple[str, str]]:
    missing = [file for file in input_files(settings) if not file.is_file()]
    for file in missing:
        yield "missing", f"{file}: yours to write, see docs/recipes.md"
    if not missing:
        try:
            divisions = read_data(settings)
        except UserError as error:
            yield "wrong", str(error)
        else:
            for data in divisions:
                counts = _counts({part: len(found) for part, found in data.parts.items()})
                yield "found", f"{settings.data_dir}: {data.fold and f'tested on {data.fold}, '}{counts}"


def _corpus_lines(settings: SuperbSettings) -> Iterator[tuple[str, str]]:
    corpus, place = corpus_of(settings)
    missing = corpus.missing(place)
    if corpus.lacks_all(place):
        yield "missing", f"{corpus.title}, expected in {place.root}: {corpus.needs[0].url}"
    else:
        for need in missing:
            yield "missing", f"{corpus.title}: {need.expected(place.root)}: {need.url}"
    if not missing:
        try:
            parts = corpus.rows(place)
            corpus.read_beside(place, parts)
        except UserError as error:
            yield "wrong", str(error)
        else:
            counts = _counts({part: len(rows) for part, rows in parts.items()})
            yield "found", f"{corpus.title} in {place.root}: {counts}"
            yield from _lost_audio(parts, ("path", *recording_columns(settings)))


def _counts(parts: dict[str, int]) -> str:
    return ", ".join(f"{part} {number}" for part, number in parts.items()) + " utterances"


def _lost_audio(parts: Parts, columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield a line for each part whose lists name recordings that are not there."""
    for part, rows in parts.items():
        lost = [row[column] for row in rows for column in columns if not Path(row[column]).is_file()]
        if lost:
            yield "missing", f"{len(lost)} recordings of {part}, the first is {lost[0]}: unpack the corpus again"
