"""`check=true`: what of each task's data is there, what is missing, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from speechssl.errors import UserError
from speechssl.evaluation.encoders.contestants import contestants
from speechssl.evaluation.superb.corpora import CORPORA
from speechssl.evaluation.superb.corpora.layout import Need, Parts
from speechssl.evaluation.superb.data import TaskData
from speechssl.evaluation.superb.groups import divide_groups, groups_of
from speechssl.evaluation.superb.official import lacking
from speechssl.evaluation.superb.problems.mixtures import mixtures_of
from speechssl.evaluation.superb.problems.quality import has_pesq
from speechssl.evaluation.superb.problems.separation import SourceSeparation, SpeechEnhancement
from speechssl.evaluation.superb.reading import columns_of, corpus_of, input_files, read_data, recording_columns
from speechssl.evaluation.superb.remarks import remark_warnings
from speechssl.evaluation.superb.run import problem_of
from speechssl.evaluation.superb.search.terms import read_terms
from speechssl.evaluation.superb.settings import ALL, SuperbSettings
from speechssl.evaluation.superb.tasks import ALL_TASKS, SEARCHES, TASKS

_SAMPLE = 50
"""Recordings of each part that are read, spread evenly over it."""
_SPOILING = ("missing", "wrong")
"""Kinds of lines of a task that cannot be evaluated."""


def check_tasks(settings: SuperbSettings) -> None:
    """Print what is there of one task or all, and run nothing.

    All labels are read, and a sample of the audio.

    Raises:
        UserError: `corpus_dir` is no folder, no task can be evaluated, or an encoder that is named cannot be loaded.
    """
    if settings.encoders is not None:
        contestants(settings.encoders, settings.baselines, None)
    ready = [_print_task(one) for one in _tasks(settings)]
    if not any(ready):
        raise UserError(f"task={settings.task} cannot be evaluated: what is missing or wrong is said above")


def _tasks(settings: SuperbSettings) -> list[SuperbSettings]:
    """Return the settings of each task; where all are asked for, a group is wanted of those that have it."""
    if settings.task != ALL:
        return [settings.of_task(settings.task)]
    tasks = {task: settings.of_task(task) for task in corpus_tasks()}
    there = {task: one for task, one in tasks.items() if not _missing(one)}
    return list((tasks | (divide_groups(there, settings.groups) if there else {})).values())


def _missing(settings: SuperbSettings) -> list[Need]:
    corpus, place = corpus_of(settings)
    return corpus.missing(place)


def corpus_tasks() -> list[str]:
    """Return the names of the tasks that have an official corpus."""
    return [task for task in ALL_TASKS if task in CORPORA]


def _print_task(settings: SuperbSettings) -> bool:
    """Print what is there of one task; return whether it can be evaluated."""
    print(f"{settings.task} ({ALL_TASKS[settings.task].title})")
    ready = True
    for kind, what in _csv_lines(settings) if settings.data_dir is not None else _corpus_lines(settings):
        print(f"  {kind:8} {what}")
        ready = ready and kind not in _SPOILING
    return ready


def _csv_lines(settings: SuperbSettings) -> Iterator[tuple[str, str]]:
    missing = [file for file in input_files(settings) if not file.is_file()]
    for file in missing:
        yield "missing", f"{file}: yours to write, see docs/superb.md"
    if not missing:
        try:
            divisions = read_data(settings, _SAMPLE)
        except UserError as error:
            yield "wrong", str(error)
        else:
            for data in divisions:
                counts = _counts({part: len(found) for part, found in data.parts.items()})
                yield "found", f"{settings.data_dir}: {data.fold and f'tested on {data.fold}, '}{counts}"
            yield from _closer_look(settings, divisions)


def _corpus_lines(settings: SuperbSettings) -> Iterator[tuple[str, str]]:
    corpus, place = corpus_of(settings)
    missing = corpus.missing(place)
    if corpus.lacks_all(place):
        yield "missing", f"{corpus.title}, expected in {place.root}: {corpus.needs[0].url}"
    else:
        for need in missing:
            yield "missing", f"{corpus.title}: {need.expected(place.root)}: {need.url}"
    if missing:
        return
    try:
        parts = corpus.rows(place)
        corpus.read_beside(place, parts)
    except UserError as error:
        yield "wrong", str(error)
        return
    utterances = {part: len(rows) for part, rows in parts.items()}
    yield "found", f"{corpus.title} in {place.root}: {_counts(utterances)}"
    lost = list(_lost_audio(parts, ("path", *recording_columns(settings))))
    yield from lost
    yield from (("few", line) for line in lacking(settings.task, utterances))
    if not lost:
        try:
            divisions = read_data(settings, _SAMPLE)
        except UserError as error:
            yield "wrong", str(error)
        else:
            yield from _closer_look(settings, divisions)


def _closer_look(settings: SuperbSettings, divisions: Sequence[TaskData]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with labels, or with the audio of the sample, and what is unusual."""
    heard = [_heard(data) for data in divisions]
    try:
        groups_of(settings, divisions, "test_queries" if settings.task in SEARCHES else "test")
        for data, of_sample in zip(divisions, heard, strict=True):
            _require_labels(settings, data, of_sample)
        for utterance in heard[0].whole or [item for part in heard[0].parts.values() for item in part]:
            utterance.read()
    except UserError as error:
        yield "wrong", str(error)
    yield "heard", "audio of " + _counts({part: len(found) for part, found in heard[0].parts.items()})
    yield from (("unusual", line) for line in remark_warnings(divisions[0].remarks()))
    if settings.task == "asr" and settings.lm is None:
        yield "without", "a language model (lm=FILE), so no wer_lm: SUPERB's is 4-gram.arpa.gz of openslr.org/11"
    if settings.task == "se" and not has_pesq():
        yield "without", "PESQ, so stoi chooses: pip install -e '.[pesq]', which needs a C compiler"


def _heard(data: TaskData) -> TaskData:
    """Return the utterances whose audio was looked at."""
    parts = {part: [item for item in found if item.heard] for part, found in data.parts.items()}
    return replace(data, parts=parts, whole=[item for item in data.whole if item.heard])


def _require_labels(settings: SuperbSettings, data: TaskData, heard: TaskData) -> None:
    """Raise a `UserError` where the task could not be made of the labels; recordings are labels of a sample only."""
    if settings.task in SEARCHES:
        for part in SEARCHES[settings.task].beside.parts:
            read_terms(data, part)
        return
    if TASKS[settings.task].problem in (SpeechEnhancement, SourceSeparation):
        for part in heard.parts:
            mixtures_of(heard, part, columns_of(settings))
    else:
        problem_of(settings, data)


def _counts(parts: dict[str, int]) -> str:
    return ", ".join(f"{part} {number}" for part, number in parts.items()) + " utterances"


def _lost_audio(parts: Parts, columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield a line for each part whose lists name recordings that are not there."""
    for part, rows in parts.items():
        lost = [row[column] for row in rows for column in columns if not Path(row[column]).is_file()]
        if lost:
            yield "missing", f"{len(lost)} recordings of {part}, the first is {lost[0]}: unpack the corpus again"
