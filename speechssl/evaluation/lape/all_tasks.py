"""`task=all`: every task of LAPE whose data set is there, one after the other."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path

from speechssl.errors import UserError
from speechssl.evaluation.lape.overview import left_out_lines, read_tasks, write_overview
from speechssl.evaluation.lape.run import choose_encoders
from speechssl.evaluation.lape.settings import LapeSettings
from speechssl.evaluation.lape.tables import captions, overview_table
from speechssl.evaluation.markdown import markdown_table

logger = logging.getLogger(__name__)


def run_all_tasks(settings: LapeSettings, run_task: Callable[[LapeSettings], None]) -> None:
    """Run all tasks that are found, then write and print the table of all and what is missing from it.

    A task that fails leaves the others as they are.

    Args:
        settings: with a task that has members.
        run_task: evaluates one task, or leaves it out where its results are there.

    Raises:
        UserError: an encoder cannot be loaded, no data set is there, or (after the last task) some tasks failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("task=all runs in one process; give torchrun one task at a time")
    # What is wrong with an encoder would be wrong in every task.
    choose_encoders(settings)
    tasks, left_out = find_tasks(settings)
    failed = {}
    for each in tasks:
        name = each.task.name
        logger.info("lape: %s in %s", name, each.corpus_dir)
        try:
            run_task(each)
        except UserError as error:
            failed[name] = str(error)
        except Exception as error:
            logger.exception("lape: %s failed", name)
            failed[name] = " ".join(f"{type(error).__name__}: {error}".split())
    left_out += [{"what": name, "reason": f"failed: {reason}"} for name, reason in failed.items()]
    _show(Path(settings.out_dir), left_out)
    if failed:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in failed.items())
        raise UserError(f"{len(failed)} of {len(tasks)} tasks failed: {reasons}")


def find_tasks(settings: LapeSettings) -> tuple[list[LapeSettings], list[dict[str, str]]]:
    """Return settings for each task whose data set is below `corpus_dir`, and the tasks that are left out.

    Raises:
        UserError: none is there.
    """
    root = Path(str(settings.corpus_dir)).expanduser()
    found, left_out = [], []
    for key, task in settings.task.members.items():
        folder = root / (task.folder or task.name)
        if folder.is_dir():
            found.append(dataclasses.replace(settings, task=task, corpus_dir=str(folder)))
        else:
            reason = f"no folder {folder} (task.members.{key}.folder=NAME names another)"
            left_out.append({"what": task.name, "reason": reason})
    if not found:
        names = dict.fromkeys(task.folder or task.name for task in settings.task.members.values())
        raise UserError(f"corpus_dir={root} has none of the data sets' folders: {', '.join(names)}")
    return found, left_out


def _show(out: Path, left_out: list[dict[str, str]]) -> None:
    """Write the overview, and print its table."""
    write_overview(out, left_out)
    tasks = list(read_tasks(out).values())
    if tasks:
        print("\n".join([markdown_table(overview_table(tasks)), "", *captions(tasks)]))
    print("\n".join([*left_out_lines(left_out), f"lape: all tasks in {out / 'results.md'}"]))
