"""The page of LAPE: which tables it has, and what it says of each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from speechssl.evaluation.lape.results import BENCHMARK
from speechssl.evaluation.lape.settings import Mode
from speechssl.evaluation.lape.tables import MODES, captions, overview_table, task_table
from speechssl.evaluation.overview import Overview, TaskResults, left_out_lines

FINETUNE = Mode.finetune.value
"""Folder of a task's fine-tuned results, in that of its linear ones."""


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


def _sections(found: Mapping[str, TaskResults]) -> Iterator[str]:
    for results in found.values():
        yield from ("", f"## {results['task']['name']}, {MODES[results['mode']]}", "", OVERVIEW.task_text(results), "")
        yield from (f"- {fact}" for fact in _facts(results))
        yield from left_out_lines(results["left_out"])


OVERVIEW = Overview(
    benchmark=BENCHMARK,
    title="LAPE: one class a clip",
    kept=("mode", "protocol", "chosen", "task", "encoders", "summary"),
    task_table=task_table,
    table=overview_table,
    captions=captions,
    sections=_sections,
    files=("*/results.json", f"*/{FINETUNE}/results.json"),
)
