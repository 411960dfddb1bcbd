"""The results of all tasks below one folder, side by side: `results.json`, `results.md` and `results.tex`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechssl.evaluation.all_tasks import LeftOut, left_out_lines
from speechssl.evaluation.latex import latex_table
from speechssl.evaluation.markdown import markdown_table
from speechssl.evaluation.superb.results import BENCHMARK
from speechssl.files import read_json, write_json, write_text

TaskResults = Mapping[str, Any]
"""Content of a `results.json`."""


def read_tasks(folder: Path) -> dict[str, TaskResults]:
    """Return the content of every `<task>/results.json` of SUPERB by its folder's name."""
    found = {file.parent.name: read_json(file) for file in sorted(folder.glob("*/results.json"))}
    return {name: results for name, results in found.items() if results.get("benchmark") == BENCHMARK}


def write_overview(folder: Path, left_out: Sequence[LeftOut] = ()) -> None:
    """Write the tables of all tasks that are there; `results.json` has what each measures, and its summary.

    Args:
        folder: with the tasks' folders.
        left_out: `what` was asked for and is not there, and the `reason`.
    """
    found = read_tasks(folder)
    tasks = list(found.values())
    write_text(folder / "results.md", _page(tasks, left_out))
    write_text(folder / "results.tex", latex_table(overview_table(tasks), captions(tasks)))
    summaries = {
        name: {key: results[key] for key in ("task", "encoders", "summary")} for name, results in found.items()
    }
    write_json(folder / "results.json", {"benchmark": BENCHMARK, "tasks": summaries, "left_out": list(left_out)})


def task_table(results: TaskResults) -> list[list[str]]:
    """Return the table of one task: a line an encoder; validation and test of each score, and the chosen rates."""
    metrics = results["task"]["metrics"]
    rows = [["encoder", *(f"{name} ({part})" for name in metrics for part in ("valid", "test")), "lr", "width"]]
    for facts in results["encoders"]:
        summary = results["summary"][facts["name"]]
        cells = [_cell(part.get(name)) for name in metrics for part in (summary["valid"], summary)]
        rates = sorted({score["lr"] for score in results["scores"][facts["name"]]})
        rows.append([facts["name"], *cells, ", ".join(f"{rate:g}" for rate in rates), str(facts["dim"])])
    return rows


def overview_table(tasks: Sequence[TaskResults]) -> list[list[str]]:
    """Return the table of several tasks: a line an encoder, the first score of each task on its test part."""
    firsts = [results["task"]["metrics"][0] for results in tasks]
    rows = [["encoder", *(_head(results) for results in tasks)]]
    for name in dict.fromkeys(facts["name"] for results in tasks for facts in results["encoders"]):
        cells = [
            _cell(results["summary"].get(name, {}).get(first)) for results, first in zip(tasks, firsts, strict=True)
        ]
        rows.append([name, *cells])
    return rows


def captions(tasks: Sequence[TaskResults]) -> list[str]:
    """Return what must be said of the numbers, a sentence each."""
    lines = [
        "Test scores in per cent, ↑ more is better, ↓ less; mean ± sample standard deviation over seeds (and encoders "
        "of one name).",
    ]
    lines += [f"Protocol: {words}." for words in sorted({results["protocol"] for results in tasks})]
    return lines


def task_text(results: TaskResults) -> str:
    """Return the table of one task with its captions, for a terminal."""
    return "\n".join([markdown_table(task_table(results)), "", *captions([results])])


def _page(tasks: Sequence[TaskResults], left_out: Sequence[LeftOut]) -> str:
    lines = ["# SUPERB", "", *captions(tasks), "", markdown_table(overview_table(tasks))]
    lines += [f"\n{line}" for line in left_out_lines(left_out)]
    for results in tasks:
        task = results["task"]
        lines += ["", f"## {task['name']}: {task['title']}", "", markdown_table(task_table(results)), ""]
        lines += [f"- {fact}" for fact in _facts(results)]
        for column in results["settings"]["groups"]:
            lines += ["", f"By {column}:", "", markdown_table(_group_table(results, column))]
    return "\n".join(lines) + "\n"


def _facts(results: TaskResults) -> Iterator[str]:
    task = results["task"]
    counts = ", ".join(
        f"{part} {number} ({task['seconds'][part] / 3600:.2f} h)" for part, number in task["utterances"].items()
    )
    yield f"utterances of {task['folder']}: {counts}"
    rates = ", ".join(f"{rate:g}" for rate in task["lr"])
    yield (
        f"{task['steps']} updates of {task['batch_size']} utterances; learning rates to choose from: {rates} "
        f"(published default: {task['published_lr']:g})"
    )
    if "classes" in task:
        yield "classes: " + ", ".join(f"{column} {number}" for column, number in task["classes"].items())
    if "tokens" in task:
        yield f"{task['tokens']} tokens"


def _group_table(results: TaskResults, column: str) -> list[list[str]]:
    """Return the first score of each value of a column, the mean over sources and seeds."""
    first = results["task"]["metrics"][0]
    values = {
        value: one["utterances"]
        for scores in results["scores"].values()
        for value, one in scores[0]["groups"][column].items()
    }
    rows = [["encoder", *(f"{value} ({number:.0f})" for value, number in values.items())]]
    for name, scores in results["scores"].items():
        rows.append(
            [name, *(_mean([score["groups"][column][value].get(first) for score in scores]) for value in values)]
        )
    return rows


def _mean(scores: Sequence[float | None]) -> str:
    """Return the mean in per cent; a group that is too small has no score, with none of the seeds."""
    known = [score for score in scores if score is not None]
    return f"{100 * sum(known) / len(known):.2f}" if known else "-"


def _head(results: TaskResults) -> str:
    arrow = "↓" if results["task"]["lower_is_better"] else "↑"
    return f"{results['task']['name'].upper()} {results['task']['metrics'][0]} {arrow}"


def _cell(summary: Mapping[str, float] | None) -> str:
    if summary is None:
        return "-"
    mean = f"{100 * summary['mean']:.2f}"
    return f"{mean} ± {100 * summary['spread']:.2f}" if summary["runs"] > 1 else mean
