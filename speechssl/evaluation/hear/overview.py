"""What the tables of HEAR show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from speechssl.evaluation.hear.results import BENCHMARK
from speechssl.evaluation.markdown import markdown_table
from speechssl.evaluation.overview import Overview, Rows, TaskResults, encoder_names
from speechssl.evaluation.spread import summary_text


def task_table(results: TaskResults) -> Rows:
    """Return the table of one task: a line an encoder, a column a score, the one that decides in front."""
    known = {name for summary in results["summary"].values() for name in summary}
    parts = [f"{score}{part}" for score in results["task"]["scores"] for part in ("", "_precision", "_recall")]
    names = [name for name in parts if name in known]
    rows = [["encoder", *names, "parameters", "width"]]
    for facts in results["encoders"]:
        cells = [_cell(results["summary"][facts["name"]].get(name)) for name in names]
        rows.append([facts["name"], *cells, f"{facts['parameters']:,}".replace(",", " "), str(facts["dim"])])
    return rows


def overview_table(tasks: Sequence[TaskResults]) -> Rows:
    """Return the table of several tasks: a line an encoder, the first score of each task."""
    firsts = [results["task"]["scores"][0] for results in tasks]
    rows = [
        ["encoder", *(f"{results['task']['name']} ({first})" for results, first in zip(tasks, firsts, strict=True))]
    ]
    for name in encoder_names(tasks):
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
    return summary_text(summary, "{:.3f}".format)


def _protocols(tasks: Sequence[TaskResults]) -> Mapping[str, Any]:
    return {"protocol": sorted({results["protocol"] for results in tasks})}


def _sections(found: Mapping[str, TaskResults]) -> Iterator[str]:
    for results in found.values():
        yield from ("", f"## {results['task']['name']}", "", markdown_table(task_table(results)), "")
        yield from (f"- {fact}" for fact in _facts(results))


OVERVIEW = Overview(
    benchmark=BENCHMARK,
    title="HEAR",
    kept=("task", "encoders", "summary"),
    task_table=task_table,
    table=overview_table,
    captions=captions,
    sections=_sections,
    facts=_protocols,
)
