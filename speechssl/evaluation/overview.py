"""Results of all tasks of a benchmark below one folder, side by side: `results.json`, `results.md`, `results.tex`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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

    def write(self, folder: Path, left_out: Sequence[LeftOut] = (), failed: Collection[str] = ()) -> None:
        """Write the tables of all tasks that are there; `results.json` has what each measures, and its summary.

        Args:
            folder: of the results of all.
            left_out: what is missing.
            failed: folders whose task has failed now: what an earlier command left there is no result of this one.
        """
        folder.mkdir(parents=True, exist_ok=True)
        # Another command that is writing them may not know of this one's results yet.
        with Lock(folder / ".lock"):
            self._write(folder, left_out, failed)

    def _write(self, folder: Path, left_out: Sequence[LeftOut], failed: Collection[str]) -> None:
        found = self._without(folder, failed)
        tasks = list(found.values())
        self.draw(folder, tasks)
        write_text(folder / "results.md", self._page(found, left_out))
        write_text(folder / "results.tex", latex_table(self.table(tasks), self._said_of(tasks)))
        summaries = {name: {key: results[key] for key in self.kept} for name, results in found.items()}
        facts = {"benchmark": self.benchmark, **self.facts(tasks), "tasks": summaries, "left_out": list(left_out)}
        write_json(folder / "results.json", facts)

    def _without(self, folder: Path, failed: Collection[str]) -> dict[str, TaskResults]:
        return {name: found for name, found in self.read(folder).items() if name not in failed}

    def show(self, folder: Path, left_out: Sequence[LeftOut], hint: str = "", failed: Collection[str] = ()) -> None:
        """Print the table that :meth:`write` writes, and what is not in it, with a hint what to do about that."""
        tasks = list(self._without(folder, failed).values())
        if tasks:
            print("\n".join([markdown_table(self.table(tasks)), "", *self._said_of(tasks)]))
        hints = [hint] if hint else []
        print("\n".join([*left_out_lines(left_out), *hints, f"{self.benchmark}: all tasks in {folder / 'results.md'}"]))

    def files_in(self, folder: Path) -> list[Path]:
        """Return the tables of all tasks."""
        return [folder / f"results.{ending}" for ending in ("json", "md", "tex")]

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


def encoder_names(tasks: Iterable[TaskResults]) -> list[str]:
    """Return the encoders of any of the tasks, in their order."""
    return list(dict.fromkeys(facts["name"] for results in tasks for facts in results["encoders"]))


def left_out_lines(left_out: Sequence[LeftOut]) -> list[str]:
    """Return a line for each thing that is missing from the tables."""
    return [f"- left out: {item['what']}: {item['reason']}" for item in left_out]
