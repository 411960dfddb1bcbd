"""Results of all tasks of a benchmark below one folder, side by side: `results.json`, `results.md`, `results.tex`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from speechssl.errors import UserError
from speechssl.evaluation.latex import latex_table
from speechssl.evaluation.markdown import markdown_table
from speechssl.files import read_json, write_json, write_text
from speechssl.locks import Lock

Name = TypeVar("Name")

logger = logging.getLogger(__name__)

_NEEDED = ("settings", "protocol", "scores")
"""What results have beside what a summary keeps of them."""

LeftOut = dict[str, str]
"""`what` was asked for and is not there, and the `reason`."""
Rows = list[list[str]]
"""Lines of a table; the first one is its header."""
TaskResults = Mapping[str, Any]
"""Content of a task's `results.json`."""


@dataclass(frozen=True)
class Overview:
    """How the results of one benchmark are found and shown."""

    benchmark: str
    """Its name, as `benchmark` in a `results.json`."""
    title: str
    """Of the page."""
    kept: tuple[str, ...]
    """What the summary keeps of a task's results."""
    task_table: Callable[[TaskResults], Rows]
    """Returns the table of one task: a line an encoder."""
    table: Callable[[Sequence[TaskResults]], Rows]
    """Returns the table of several tasks."""
    captions: Callable[[Sequence[TaskResults]], list[str]]
    """Returns what must be said of the numbers of some tasks, a sentence each."""
    sections: Callable[[Mapping[str, TaskResults]], Iterable[str]]
    """Returns the lines of the page below its table, given the results by folder."""
    facts: Callable[[Sequence[TaskResults]], Mapping[str, Any]] = lambda tasks: {}
    """Returns what the summary says of all tasks together."""
    draw: Callable[[Path, Sequence[TaskResults]], None] = lambda folder, tasks: None
    """Draws the figures of the page into its folder."""
    files: tuple[str, ...] = ("*/results.json",)
    """Where tasks leave their results, below the folder of all."""

    def read(self, folder: Path) -> dict[str, TaskResults]:
        """Return the results of every task below `folder`, by the folder that each is in; others are warned of."""
        files = sorted((file for pattern in self.files for file in folder.glob(pattern)), key=lambda file: file.parent)
        found = {file.parent.relative_to(folder).as_posix(): self._results(file) for file in files}
        return {name: results for name, results in found.items() if results is not None}

    def _results(self, file: Path) -> TaskResults | None:
        """Return what a task of this benchmark has left in a file; None of another benchmark, or if it is broken."""
        try:
            results = read_json(file)
        except UserError as error:
            logger.warning("%s: left out of the tables: %s", self.benchmark, error)
            return None
        known = results if isinstance(results, dict) else {}
        # The probes name no benchmark.
        if known and known.get("benchmark") != self.benchmark:
            return None
        if not {"benchmark", *_NEEDED, *self.kept} <= known.keys():
            logger.warning("%s: left out of the tables: %s has no results of a task", self.benchmark, file)
            return None
        return known

    def write(
        self,
        folder: Path,
        made: Collection[str] = (),
        left_out: Sequence[LeftOut] | None = None,
        failed: Collection[str] = (),
    ) -> None:
        """Write the tables of all tasks that are there; `results.json` has what each measures, and its summary.

        What an earlier command said of other tasks stays: which are missing, and which failed.

        Args:
            folder: of the results of all.
            made: folders of the tasks that this command has run, as names below `folder`.
            left_out: what is missing; None where the command did not look for all tasks.
            failed: those of `made` whose task has failed: what is there is of an earlier command, and in no table.
        """
        folder.mkdir(parents=True, exist_ok=True)
        # Another command that is writing them may not know of this one's results yet.
        with Lock(folder / ".lock"):
            missing, still_failed = self._told_before(folder)
            still_failed -= set(made)
            stays = _tasks_of(still_failed)
            if left_out is None:
                # Of a task that has failed in one mode, this is said until it is made in that mode.
                stays |= {item["what"] for item in missing} - _tasks_of(made)
            new = list(left_out or [])
            known = {item["what"] for item in new}
            kept = [item for item in missing if item["what"] in stays - known]
            self._write(folder, [*new, *kept], still_failed | set(failed))

    def refresh(self, folder: Path, task_folder: Path) -> None:
        """Write the tables again where some are lost, or lack a task whose results are current."""
        name = task_folder.relative_to(folder).as_posix()
        there = all((folder / f"results.{ending}").is_file() for ending in ("json", "md", "tex"))
        if not there or name in self._told_before(folder)[1]:
            self.write(folder, [name])

    def _told_before(self, folder: Path) -> tuple[list[LeftOut], set[str]]:
        """Return what an earlier command has left out, and the folders whose task failed."""
        file = folder / "results.json"
        told = read_json(file) if file.is_file() else {}
        return list(told.get("left_out", [])), set(told.get("failed", []))

    def _write(self, folder: Path, left_out: Sequence[LeftOut], failed: Collection[str]) -> None:
        found = self._without(folder, failed)
        tasks = list(found.values())
        self.draw(folder, tasks)
        write_text(folder / "results.md", self._page(found, left_out))
        write_text(folder / "results.tex", latex_table(self.table(tasks), self._said_of(tasks)))
        summaries = {name: {key: results[key] for key in self.kept} for name, results in found.items()}
        told = {"left_out": list(left_out), "failed": sorted(failed)}
        facts = {"benchmark": self.benchmark, **self.facts(tasks), "tasks": summaries, **told}
        write_json(folder / "results.json", facts)

    def _without(self, folder: Path, failed: Collection[str]) -> dict[str, TaskResults]:
        return {name: found for name, found in self.read(folder).items() if name not in failed}

    def show(self, folder: Path, hint: str = "") -> None:
        """Print the table that :meth:`write` wrote, and what is not in it, with a hint what to do about that."""
        left_out, failed = self._told_before(folder)
        tasks = list(self._without(folder, failed).values())
        if tasks:
            print("\n".join([markdown_table(self.table(tasks)), "", *self._said_of(tasks)]))
        hints = [hint] if hint else []
        print("\n".join([*left_out_lines(left_out), *hints, f"{self.benchmark}: all tasks in {folder / 'results.md'}"]))

    def show_task(self, folder: Path, task_folder: Path, results: TaskResults) -> None:
        """Print the results of one task."""
        print(self.task_text(results))
        task = results["task"]["name"]
        print(f"{self.benchmark}: {task} in {task_folder}, all tasks in {folder / 'results.md'}")

    def task_text(self, results: TaskResults) -> str:
        """Return the table of one task with its captions, for a terminal."""
        return "\n".join([markdown_table(self.task_table(results)), "", *self.captions([results])])

    def _said_of(self, tasks: Sequence[TaskResults]) -> list[str]:
        """Return the captions of several tasks; a row need not be one encoder in all of them."""
        rows = [facts for results in tasks for facts in results["encoders"]]
        encoders = ((row["name"], (frozenset(row["sources"]), row["dim"], row["parameters"])) for row in rows)
        # Results of earlier versions do not say which weights they are of.
        weights = (
            (row["name"], source, identity) for row in rows for source, identity in row.get("identities", {}).items()
        )
        several = _of_several(encoders)
        retrained = [
            f"{name} (other weights in {source})"
            for name, source in _of_several(((name, source), identity) for name, source, identity in weights)
            if name not in several
        ]
        told = [*several, *retrained]
        return [*self.captions(tasks), *([f"Not the same encoders in all tasks: {', '.join(told)}."] if told else [])]

    def _page(self, found: Mapping[str, TaskResults], left_out: Sequence[LeftOut]) -> str:
        tasks = list(found.values())
        lines = [f"# {self.title}", "", *self._said_of(tasks), "", markdown_table(self.table(tasks))]
        lines += [f"\n{line}" for line in left_out_lines(left_out)]
        return "\n".join([*lines, *self.sections(found)]) + "\n"


def _of_several(pairs: Iterable[tuple[Name, Any]]) -> list[Name]:
    """Return the names that stand before more than one thing."""
    known: dict[Name, set[Any]] = {}
    for name, thing in pairs:
        known.setdefault(name, set()).add(thing)
    return [name for name, things in known.items() if len(things) > 1]


def _tasks_of(folders: Iterable[str]) -> set[str]:
    """Return the tasks that folders of results belong to."""
    return {PurePosixPath(folder).parts[0] for folder in folders}


def encoder_names(tasks: Iterable[TaskResults]) -> list[str]:
    """Return the encoders of any of the tasks, in their order."""
    return list(dict.fromkeys(facts["name"] for results in tasks for facts in results["encoders"]))


def left_out_lines(left_out: Sequence[LeftOut]) -> list[str]:
    """Return a line for each thing that is missing from the tables."""
    return [f"- left out: {item['what']}: {item['reason']}" for item in left_out]
