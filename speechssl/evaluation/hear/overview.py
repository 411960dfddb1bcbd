"""The results of all tasks below one folder, side by side: `results.json`, `results.md` and `results.tex`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechssl.evaluation.all_tasks import LeftOut, left_out_lines
from speechssl.evaluation.hear.results import BENCHMARK
from speechssl.evaluation.latex import latex_table
from speechssl.evaluation.markdown import markdown_table
from speechssl.files import read_json, write_json, write_text

TaskResults = Mapping[str, Any]
"""Content of a `results.json`."""


def read_tasks(folder: Path) -> dict[str, TaskResults]:
    """Return the content of every `<task>/results.json` of HEAR by its folder's name."""
    found = {file.parent.name: read_json(file) for file in sorted(folder.glob("*/results.json"))}
    return {name: results for name, results in found.items() if results.get("benchmark") == BENCHMARK}


def write_overview(folder: Path, left_out: Sequence[LeftOut] = ()) -> None:
    """Write the tables of all tasks that are there; `results.json` has what each measures, and its summary.

    Args:
        folder: with a folder a task.
        left_out: `what` was asked for and is not there, and the `reason`.
    """
    found = read_tasks(folder)
    tasks = list(found.values())
    write_text(folder / "results.md", _page(tasks, left_out))
    write_text(folder / "results.tex", latex_table(overview_table(tasks), captions(tasks)))
    summaries = {
        name: {key: results[key] for key in ("task", "encoders", "summary")} for name, results in found.items()
    }
    protocols = sorted({results["protocol"] for results in tasks})
    facts = {"benchmark": BENCHMARK, "protocol": protocols, "tasks": summaries, "left_out": list(left_out)}
    write_json(folder / "results.json", facts)


def task_table(results: TaskResults) -> list[list[str]]:
    """Return the table of one task: a line an encoder, a column a score, the one that decides in front."""
    known = {name for summary in results["summary"].values() for name in summary}
    parts = [f"{score}{part}" for score in results["task"]["scores"] for part in ("", "_precision", "_recall")]
    names = [name for name in parts if name in known]
    rows = [["encoder", *names, "parameters", "width"]]
    for facts in results["encoders"]:
        cells = [_cell(results["summary"][facts["name"]].get(name)) for name in names]
        rows.append([facts["name"], *cells, f"{facts['parameters']:,}".replace(",", " "), str(facts["dim"])])
    return rows


def overview_table(tasks: Sequence[TaskResults]) -> list[list[str]]:
    """Return the table of several tasks: a line an encoder, the first score of each task."""
    firsts = [results["task"]["scores"][0] for results in tasks]
    rows = [
        ["encoder", *(f"{results['task']['name']} ({first})" for results, first in zip(tasks, firsts, strict=True))]
    ]
    for name in dict.fromkeys(facts["name"] for results in tasks for facts in results["encoders"]):
        cells = [
            _cell(results["summary"].get(name, {}).get(first)) for results, first in zip(tasks, firsts, strict=True)
        ]
        rows.append([name, *cells])
    return rows


def captions(tasks: Sequence[TaskResults]) -> list[str]:
    """Return what must be said of the numbers, a sentence each."""
    lines = [
        "Test scores: mean of the folds, then mean ± sample standard deviation over seeds (and encoders of one name).",
        "A shallow network on frozen encoders.",
    ]
    lines += [f"Protocol: {words}." for words in sorted({results["protocol"] for results in tasks})]
    if any(name.endswith("_er") for results in tasks for name in results["task"]["scores"]):
        lines.append("Of error rates (er) less is better, of all others more.")
    if any(None in summary.values() for results in tasks for summary in results["summary"].values()):
        lines.append("A score is missing (-) where a class is not in a test part, or is told apart without a mistake.")
    return lines


def task_text(results: TaskResults) -> str:
    """Return the table of one task with its captions, for a terminal."""
    return "\n".join([markdown_table(task_table(results)), "", *captions([results])])


def _page(tasks: Sequence[TaskResults], left_out: Sequence[LeftOut]) -> str:
    lines = ["# HEAR", "", *captions(tasks), "", markdown_table(overview_table(tasks))]
    lines += [f"\n{line}" for line in left_out_lines(left_out)]
    for results in tasks:
        lines += ["", f"## {results['task']['name']}", "", markdown_table(task_table(results)), ""]
        lines += [f"- {fact}" for fact in _facts(results)]
    return "\n".join(lines) + "\n"


def _facts(results: TaskResults) -> Iterator[str]:
    task = results["task"]
    kind = "events in time" if task["kind"] == "event" else f"whole recordings, {task['prediction']}"
    yield (
        f"{kind}: {task['classes']} classes, {task['recordings']} recordings ({task['seconds']:.0f} s), read at "
        f"{task['sample_rate']} Hz; networks chosen by their {task['chosen_on']}"
    )
    for division in task["divisions"]:
        text = (
            f"{division['name']}: {division['train']} recordings to learn from, {division['valid']} to choose on, "
            f"{division['test']} tested"
        )
        absent = division.get("absent_classes", 0)
        yield text + (f"; {absent} classes are in no recording that is tested" if absent else "")


def _cell(summary: Mapping[str, float] | None) -> str:
    if summary is None:
        return "-"
    mean = f"{summary['mean']:.3f}"
    return f"{mean} ± {summary['spread']:.3f}" if summary["runs"] > 1 else mean
