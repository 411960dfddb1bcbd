"""`task=all` in every benchmark: one task after the other, and a list of those that are missing or failed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from speechssl.errors import UserError

Settings = TypeVar("Settings")
LeftOut = dict[str, str]
"""`what` was asked for and is not there, and the `reason`."""

logger = logging.getLogger(__name__)


def run_all(
    benchmark: str,
    tasks: Mapping[str, Settings],
    missing: Sequence[LeftOut],
    run_task: Callable[[Settings], None],
    show: Callable[[list[LeftOut]], None],
) -> None:
    """Run the tasks, then show what there is and what is left out.

    A task that fails leaves the others as they are.

    Args:
        benchmark: name of the benchmark.
        tasks: name of each task that is there -> its settings.
        missing: tasks that are not there.
        run_task: evaluates one task, or leaves it out where its results are there.
        show: writes and prints the tables, and what is missing from them or failed.

    Raises:
        UserError: torchrun started several processes, or (after the last task) some tasks failed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("task=all runs in one process; give torchrun one task at a time")
    failed = _run_each(benchmark, tasks, run_task)
    show([*missing, *({"what": name, "reason": f"failed: {reason}"} for name, reason in failed.items())])
    if failed:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in failed.items())
        raise UserError(f"{len(failed)} of {len(tasks)} tasks failed: {reasons}")


def _run_each(benchmark: str, tasks: Mapping[str, Settings], run_task: Callable[[Settings], None]) -> dict[str, str]:
    """Run the tasks; return why some failed, by their names."""
    failed = {}
    for name, settings in tasks.items():
        logger.info("%s: %s", benchmark, name)
        try:
            run_task(settings)
        except UserError as error:
            failed[name] = str(error)
        except Exception as error:
            logger.exception("%s: %s failed", benchmark, name)
            failed[name] = " ".join(f"{type(error).__name__}: {error}".split())
    return failed


def left_out_lines(left_out: Sequence[LeftOut]) -> list[str]:
    """Return a line for each thing that is missing from the tables."""
    return [f"- left out: {item['what']}: {item['reason']}" for item in left_out]
