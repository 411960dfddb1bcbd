"""`task=all`: every task of SUPERB whose corpus is there, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from speechssl.errors import UserError
from speechssl.evaluation.all_tasks import run_all
from speechssl.evaluation.encoders.contestants import contestants
from speechssl.evaluation.overview import LeftOut
from speechssl.evaluation.superb.check import corpus_tasks
from speechssl.evaluation.superb.groups import divide_groups
from speechssl.evaluation.superb.overview import OVERVIEW
from speechssl.evaluation.superb.reading import corpus_of
from speechssl.evaluation.superb.settings import SuperbSettings


def run_all_tasks(settings: SuperbSettings, run_task: Callable[[SuperbSettings], None]) -> None:
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
    tasks, missing = find_tasks(settings)
    run_all(OVERVIEW, Path(settings.out_dir), tasks, missing, run_task)


def find_tasks(settings: SuperbSettings) -> tuple[dict[str, SuperbSettings], list[LeftOut]]:
    """Return settings for each task whose corpus is below `corpus_dir`, and the tasks that are left out.

    Raises:
        UserError: none is there, or no corpus has a column of `groups`.
    """
    found: dict[str, SuperbSettings] = {}
    left_out: list[LeftOut] = []
    for task in corpus_tasks():
        one = settings.of_task(task)
        corpus, place = corpus_of(one)
        missing = corpus.missing(place)
        if missing:
            left_out.append({"what": task, "reason": f"{corpus.title}: no {missing[0].expected(place.root)}"})
        else:
            found[task] = one
    if not found:
        raise UserError(
            f"corpus_dir={settings.corpus_dir} has no corpus of SUPERB with all that is needed; check=true says what "
            "is missing"
        )
    return divide_groups(found, settings.groups), left_out
