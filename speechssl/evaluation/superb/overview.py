"""The results of all tasks below one folder, side by side: `results.json`, `results.md` and `results.tex`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechssl.evaluation.all_tasks import LeftOut, left_out_lines
from speechssl.evaluation.latex import latex_table
from speechssl.evaluation.markdown import markdown_table
from speechssl.evaluation.superb.results import BENCHMARK
from speechssl.evaluation.superb.units import label, shown
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
    rows = [["encoder", *(f"{label(name)} ({part})" for name in metrics for part in ("valid", "test")), "lr", "width"]]
    for facts in results["encoders"]:
        summary = results["summary"][facts["name"]]
        cells = [_cell(name, part.get(name)) for name in metrics for part in (summary["valid"], summary)]
        rates = sorted({score["lr"] for score in results["scores"][facts["name"]]})
        rows.append([facts["name"], *cells, ", ".join(f"{rate:g}" for rate in rates), str(facts["dim"])])
    return rows


def overview_table(tasks: Sequence[TaskResults]) -> list[list[str]]:
    """Return the table of several tasks: a line an encoder, the first score of each task on its test part."""
    firsts = [results["task"]["metrics"][0] for results in tasks]
    rows = [["encoder", *(_head(results) for results in tasks)]]
    for name in dict.fromkeys(facts["name"] for results in tasks for facts in results["encoders"]):
        cells = [
            _cell(first, results["summary"].get(name, {}).get(first))
            for results, first in zip(tasks, firsts, strict=True)
        ]
        rows.append([name, *cells])
    return rows


def captions(tasks: Sequence[TaskResults]) -> list[str]:
    """Return what must be said of the numbers, a sentence each."""
    lines = [
        "Test scores, in per cent where no unit is named, ↑ more is better, ↓ less; mean ± sample standard deviation "
        "over seeds (and encoders of one name).",
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
    if task["folds"]:
        yield f"folds, tested in turn: {', '.join(task['folds'])}; the counts are those of the first"
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
    yield from task.get("notes", [])


def _group_table(results: TaskResults, column: str) -> list[list[str]]:
    """Return the first score of each value of a column, the mean over sources, seeds and folds."""
    first = results["task"]["metrics"][0]
    rows: list[list[str]] = []
    for name, scores in results["scores"].items():
        groups: dict[str, list[Mapping[str, float]]] = {}
        for score in scores:
            for value, one in score["groups"][column].items():
                groups.setdefault(value, []).append(one)
        heads = len(scores) / max(1, len(results["task"]["folds"]))
        counts = {value: sum(one["utterances"] for one in groups[value]) / heads for value in sorted(groups)}
        rows = rows or [["encoder", *(f"{value} ({count:.0f})" for value, count in counts.items())]]
        rows.append([name, *(_mean(groups[value], first) for value in counts)])
    return rows


def _mean(groups: Sequence[Mapping[str, float]], name: str) -> str:
    """Return the mean over all utterances; a group that is too small has no score."""
    known = [group for group in groups if name in group]
    utterances = sum(group["utterances"] for group in known)
    return shown(name, sum(group[name] * group["utterances"] for group in known) / utterances) if known else "-"


def _head(results: TaskResults) -> str:
    arrow = "↓" if results["task"]["lower_is_better"] else "↑"
    return f"{results['task']['name'].upper()} {label(results['task']['metrics'][0])} {arrow}"


def _cell(score: str, summary: Mapping[str, float] | None) -> str:
    if summary is None:
        return "-"
    mean = shown(score, summary["mean"])
    return f"{mean} ± {shown(score, summary['spread'])}" if summary["runs"] > 1 else mean
