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


def require_one_process() -> None:
    """Raise a `UserError` where torchrun started several processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("task=all runs in one process; give torchrun one task at a time")


def run_each(benchmark: str, tasks: Mapping[str, Settings], run_task: Callable[[Settings], None]) -> dict[str, str]:
    """Run the tasks, each with its settings; one that fails leaves the others as they are.

    Returns:
        Name of a task that failed -> why.
    """
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


def left_out_by_failure(failed: Mapping[str, str]) -> list[LeftOut]:
    """Return the failed tasks as the results list them."""
    return [{"what": name, "reason": f"failed: {reason}"} for name, reason in failed.items()]


def require_none_failed(failed: Mapping[str, str], tasks: int) -> None:
    """Raise a `UserError` that names the failed ones of so many tasks."""
    if failed:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in failed.items())
        raise UserError(f"{len(failed)} of {tasks} tasks failed: {reasons}")


def left_out_lines(left_out: Sequence[LeftOut]) -> list[str]:
    """Return a line for each thing that is missing from the tables."""
    return [f"- left out: {item['what']}: {item['reason']}" for item in left_out]
