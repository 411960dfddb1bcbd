"""`task=all`: every one of the sixteen tasks of HEAR whose folder is there, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from speechssl.errors import UserError
from speechssl.evaluation.all_tasks import run_all
from speechssl.evaluation.encoders.contestants import contestants
from speechssl.evaluation.hear.folders import FOLDERS, tasks_there
from speechssl.evaluation.hear.overview import OVERVIEW
from speechssl.evaluation.hear.settings import HearSettings


def run_all_tasks(settings: HearSettings, run_task: Callable[[HearSettings], None]) -> None:
    """Run all tasks that are found, then write and print the table of all and what is missing from it.

    A task that fails leaves the others as they are.

    Args:
        settings: with `task=all`.
        run_task: evaluates one task, or leaves it out where its results are there.

    Raises:
        UserError: an encoder cannot be loaded, no task is there, or (after the last task) some tasks failed.
    """
    # What is wrong with an encoder would be wrong in every task.
    contestants(settings.encoders, settings.baselines, None)
    there = tasks_there(settings.corpus_dir)
    if not there:
        raise UserError(
            f"corpus_dir={settings.corpus_dir} has none of the sixteen tasks' folders, as HEAR's archives unpack: "
            f"{', '.join(FOLDERS.values())}"
        )
    missing = [
        {"what": task, "reason": f"no folder {folder} in {settings.corpus_dir}"}
        for task, folder in FOLDERS.items()
        if task not in there
    ]
    tasks = {task: dataclasses.replace(settings, task=task) for task in there}
    run_all(OVERVIEW, Path(settings.out_dir), tasks, missing, run_task)
