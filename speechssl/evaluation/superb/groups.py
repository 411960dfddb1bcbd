"""Columns whose values have scores of their own beside the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from speechssl.errors import UserError, nearest
from speechssl.evaluation.superb.corpora import CORPORA
from speechssl.evaluation.superb.data import TaskData
from speechssl.evaluation.superb.reading import columns_of
from speechssl.evaluation.superb.settings import SuperbSettings

KNOWN_GROUPS = ("gender", "age", "accent", "fluency", "first_language", "noise", "snr")
"""Those that are reported unless others are named: of speakers, and kind and level of noise."""


def groups_of(settings: SuperbSettings, divisions: Sequence[TaskData], part: str) -> list[str]:
    """Return the columns of a part: those that were named, else the known ones that say something in it.

    Args:
        settings: of the command.
        divisions: one, or one a fold.
        part: which one.

    Raises:
        UserError: a column that was named is not there.
    """
    utterances = [utterance for data in divisions for utterance in data.parts[part]]
    known = utterances[0].labels
    if settings.groups is None:
        others = [column for column in KNOWN_GROUPS if column not in columns_of(settings)]
        return [column for column in others if any(utterance.labels.get(column) for utterance in utterances)]
    for column in settings.groups:
        if column not in known:
            raise UserError(
                f"{divisions[0].name(part)} has no column '{column}'{nearest(column, known)}; groups names its columns"
            )
    return settings.groups


def divide_groups(tasks: Mapping[str, SuperbSettings], groups: list[str] | None) -> dict[str, SuperbSettings]:
    """Return the settings of each of all tasks, with those of the named columns that its corpus has.

    Raises:
        UserError: no corpus has one of them.
    """
    if groups is None:
        return dict(tasks)
    known = {task: CORPORA[task].metadata for task in tasks}
    columns = sorted({column for of_task in known.values() for column in of_task})
    for column in groups:
        if column not in columns:
            raise UserError(
                f"groups: no corpus that is there has a column '{column}'{nearest(column, columns)} (known: "
                f"{', '.join(columns) or 'none'})"
            )
    return {
        task: replace(settings, groups=[column for column in groups if column in known[task]])
        for task, settings in tasks.items()
    }
