"""`task=all` in every benchmark: one task after the other, and a list of those that are missing or failed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from speechssl.errors import UserError
from speechssl.evaluation.overview import LeftOut, Overview
from speechssl.locks import BusyError

Settings = TypeVar("Settings")

logger = logging.getLogger(__name__)


def run_all(
    overview: Overview,
    out: Path,
    tasks: Mapping[str, Settings],
    missing: Sequence[LeftOut],
    run_task: Callable[[Settings], None],
    hint: str = "",
    inner: str = "",
) -> None:
    """Run the tasks, then write and print the table of all and what is missing from it.

    A task that fails leaves the others as they are, and is in no table, whatever was measured so in it before. Of one
    that another command is at work on, what was measured before stays.

    Args:
        overview: of the benchmark.
        out: folder of the results.
        tasks: name of each task that is there -> its settings.
        missing: tasks that are not there.
        run_task: evaluates one task, or leaves it out where its results are there.
        hint: what to do about tasks that are not there.
        inner: folder in that of each task which the results are in; empty for the task's own.

    Raises:
        UserError: torchrun started several processes, or (after the last task) some failed, or another command is at
            work on them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("task=all runs in one process; give torchrun one task at a time")
    failed, busy = _run_each(overview.benchmark, tasks, run_task)
    told = {name: f"failed: {reason}" for name, reason in failed.items()} | busy
    left_out = [*missing, *({"what": name, "reason": reason} for name, reason in told.items())]
    made = {name: (PurePosixPath(name) / inner).as_posix() for name in tasks if name not in busy}
    without = [made[name] for name in failed]
    overview.write(out, list(made.values()), left_out, without)
    overview.show(out, hint if missing else "")
    reasons = "; ".join(f"{name} ({reason})" for name, reason in {**failed, **busy}.items())
    if failed:
        raise UserError(f"{len(told)} of {len(tasks)} tasks failed: {reasons}")
    if busy:
        raise UserError(f"{len(busy)} of {len(tasks)} tasks are not done: {reasons}")


def _run_each(
    benchmark: str, tasks: Mapping[str, Settings], run_task: Callable[[Settings], None]
) -> tuple[dict[str, str], dict[str, str]]:
    """Run the tasks; return why some failed, by their names, and what is told of those that others are busy with."""
    failed, busy = {}, {}
    for name, settings in tasks.items():
        logger.info("%s: %s", benchmark, name)
        try:
            run_task(settings)
        except BusyError as error:
            busy[name] = str(error)
        except UserError as error:
            failed[name] = str(error)
        except Exception as error:
            logger.exception("%s: %s failed", benchmark, name)
            failed[name] = " ".join(f"{type(error).__name__}: {error}".split())
    return failed, busy
