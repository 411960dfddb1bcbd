"""`task=all`: every task of LAPE whose data set is there, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from speechssl.errors import UserError
from speechssl.evaluation.all_tasks import run_all
from speechssl.evaluation.lape.overview import FINETUNE, OVERVIEW
from speechssl.evaluation.lape.run import choose_encoders
from speechssl.evaluation.lape.settings import LapeSettings, Mode
from speechssl.evaluation.overview import LeftOut

_OTHER_NAMES = "a folder of another name is given as task.members.TASK.folder=NAME"


def run_all_tasks(settings: LapeSettings, run_task: Callable[[LapeSettings], None]) -> None:
    """Run all tasks that are found, then write and print the table of all and what is missing from it.

    A task that fails leaves the others as they are.

    Args:
        settings: with a task that has members.
        run_task: evaluates one task, or leaves it out where its results are there.

    Raises:
        UserError: an encoder cannot be loaded, no data set is there, or (after the last task) some tasks failed.
    """
    # What is wrong with an encoder would be wrong in every task.
    choose_encoders(settings)
    tasks, missing = find_tasks(settings)
    by_name = {each.task.name: each for each in tasks}
    inner = FINETUNE if settings.mode is Mode.finetune else ""
    run_all(OVERVIEW, Path(settings.out_dir), by_name, missing, run_task, f"({_OTHER_NAMES})", inner)


def find_tasks(settings: LapeSettings) -> tuple[list[LapeSettings], list[LeftOut]]:
    """Return settings for each task whose data set is below `corpus_dir`, and the tasks that are left out.

    Raises:
        UserError: none is there.
    """
    root = Path(str(settings.corpus_dir)).expanduser()
    found, left_out = [], []
    for task in settings.task.members.values():
        folder = root / (task.folder or task.name)
        if folder.is_dir():
            found.append(dataclasses.replace(settings, task=task, corpus_dir=str(folder)))
        else:
            left_out.append({"what": task.name, "reason": f"no folder {folder}"})
    if not found:
        names = dict.fromkeys(task.folder or task.name for task in settings.task.members.values())
        raise UserError(f"corpus_dir={root} has none of the data sets' folders: {', '.join(names)}; {_OTHER_NAMES}")
    return found, left_out
