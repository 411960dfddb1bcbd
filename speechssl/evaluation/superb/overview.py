"""The page of SUPERB: which tables and figures it has, and what it says of each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from speechssl.evaluation.markdown import markdown_table
from speechssl.evaluation.overview import Overview, TaskResults
from speechssl.evaluation.superb.figures import LAYER_WEIGHTS, draw_layer_weights, layer_weights
from speechssl.evaluation.superb.leaderboard import leaderboard_facts, superb_score_lines
from speechssl.evaluation.superb.remarks import remark_lines
from speechssl.evaluation.superb.results import BENCHMARK
from speechssl.evaluation.superb.tables import captions, group_table, overview_table, task_table


def _draw(folder: Path, tasks: Sequence[TaskResults]) -> None:
    draw_layer_weights(folder / LAYER_WEIGHTS, tasks)


def _sections(found: Mapping[str, TaskResults]) -> Iterator[str]:
    tasks = list(found.values())
    yield from ("", *superb_score_lines(tasks))
    if any(layer_weights(results) for results in tasks):
        yield from ("", f"![Weights of the hidden states in all tasks]({LAYER_WEIGHTS})")
    for name, results in found.items():
        task = results["task"]
        yield from ("", f"## {task['name']}: {task['title']}", "", markdown_table(task_table(results)), "")
        yield from (f"- {fact}" for fact in _facts(results))
        if layer_weights(results):
            yield from ("", f"![Weights of the hidden states in {task['name']}]({name}/{LAYER_WEIGHTS})")
        for column in next(iter(results["scores"].values()))[0]["groups"]:
            yield from ("", f"By {column}:", "", markdown_table(group_table(results, column)))


def _facts(results: TaskResults) -> Iterator[str]:
    task = results["task"]
    counts = ", ".join(
        f"{part} {number} ({task['seconds'][part] / 3600:.2f} h)" for part, number in task["utterances"].items()
    )
    if task["folds"]:
        yield f"folds, tested in turn: {', '.join(task['folds'])}; the counts are those of the first"
    yield f"utterances of {task['folder']}: {counts}"
    if "lr" in task:
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
    yield from remark_lines(results.get("remarks", {}))


OVERVIEW = Overview(
    benchmark=BENCHMARK,
    title="SUPERB",
    kept=("task", "encoders", "summary"),
    task_table=task_table,
    table=overview_table,
    captions=captions,
    sections=_sections,
    facts=leaderboard_facts,
    draw=_draw,
)
