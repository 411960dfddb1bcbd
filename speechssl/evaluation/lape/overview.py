"""The results of all tasks below one folder, side by side: `results.json`, `results.md` and `results.tex`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from speechssl.evaluation.all_tasks import LeftOut, left_out_lines
from speechssl.evaluation.lape.results import BENCHMARK
from speechssl.evaluation.lape.settings import Mode
from speechssl.evaluation.lape.tables import MODES, TaskResults, captions, overview_table, task_table
from speechssl.evaluation.latex import latex_table
from speechssl.evaluation.markdown import markdown_table
from speechssl.files import read_json, write_json, write_text

FINETUNE = Mode.finetune.value
"""Folder of a task's fine-tuned results, in that of its linear ones."""


def read_tasks(folder: Path) -> dict[str, TaskResults]:
    """Return the content of every `<task>/results.json` and `<task>/finetune/results.json` of LAPE by its folder."""
    files = [*folder.glob("*/results.json"), *folder.glob(f"*/{FINETUNE}/results.json")]
    found = {file.parent: read_json(file) for file in files}
    return {
        path.relative_to(folder).as_posix(): results
        for path, results in sorted(found.items())
        if results.get("benchmark") == BENCHMARK
    }


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
    kept = ("mode", "protocol", "chosen", "task", "encoders", "summary")
    summaries = {name: {key: results[key] for key in kept} for name, results in found.items()}
    write_json(folder / "results.json", {"benchmark": BENCHMARK, "tasks": summaries, "left_out": list(left_out)})


def task_text(results: TaskResults) -> str:
    """Return the table of one task with its captions, for a terminal."""
    return "\n".join([markdown_table(task_table(results)), "", *captions([results])])


def _page(tasks: Sequence[TaskResults], left_out: Sequence[LeftOut]) -> str:
    lines = [
        "# LAPE: one class a clip",
        "",
        *captions(tasks),
        "",
        markdown_table(overview_table(tasks)),
        *(f"\n{line}" for line in left_out_lines(left_out)),
    ]
    for results in tasks:
        lines += ["", f"## {results['task']['name']}, {MODES[results['mode']]}", "", task_text(results), ""]
        lines += [f"- {fact}" for fact in _facts(results)]
        lines += left_out_lines(results["left_out"])
    return "\n".join(lines) + "\n"


def _facts(results: TaskResults) -> Iterator[str]:
    task = results["task"]
    yield (
        f"{len(task['classes'])} classes ({task['column']}) of corpus {task['corpus']}: {task['clips']} clips of "
        f"{task['clip_seconds']:g} s, {task['padded']} padded and {task['cut']} cut to that"
    )
    yield (
        f"chance {100 * task['chance']:.1f} %, most frequent class of the test part "
        f"{100 * task['most_frequent_class']:.1f} %"
    )
    for division in task["divisions"]:
        yield _division(division, task["group_column"])
    if task["note"]:
        yield task["note"]


def _division(division: dict[str, Any], group: str) -> str:
    sizes = [f"{division['train']} train"]
    if "valid" in division:
        sizes.append(f"{division['valid']} validation ({division['valid_is']})")
    text = f"{division['name']}: {', '.join(sizes)}, {division['test']} test clips"
    if "test_groups" in division:
        text += (
            f"; {division['groups_also_in_train']} of {division['test_groups']} values of {group} in the test part "
            "are in train as well"
        )
    missing = division["missing_from_train"]
    if missing:
        names = ", ".join(f"{name} ({count} test clips)" for name, count in missing.items())
        text += f"; {len(missing)} classes are not in train, so never right: {names}"
    return text
