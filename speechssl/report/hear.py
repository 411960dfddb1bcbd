"""The section on HEAR: the scores of frozen encoders in its tasks."""

from __future__ import annotations

from collections.abc import Sequence

from speechssl.report.benchmarks import Scale, encoders_of, facts_of, summary_of
from speechssl.report.encoders import encoder_table, left_out_table, shown_name
from speechssl.report.findings import Findings
from speechssl.report.reading import JsonObject
from speechssl.report.tables import Better, Cell, Column, Section, Table, TableRow, present

_SCALE = Scale()


def hear_section(found: Findings) -> Section:
    """Return the scores of all tasks, what the tasks and encoders are, and what was left out."""
    tasks = found.hear.tasks
    source = f"{found.hear.path}/<task>/results.json"
    section = Section(
        "hear",
        "HEAR: a shallow network on frozen encoders",
        "Test scores: mean of the folds; \u00b1 is the standard deviation over seeds and encoders of one name "
        "(n \u2212 1). The first score of a task is the one that its networks were chosen on. The best "
        "of each line is bold.",
    )
    section.tables = present([_score_table(source, tasks)])
    left_out = left_out_table(f"{found.hear.path}/results.json", found.hear.overview.get("left_out", []))
    section.detail_tables = present([_task_table(source, tasks), encoder_table(source, facts_of(tasks)), left_out])
    return section


def _score_table(source: str, tasks: Sequence[JsonObject]) -> Table | None:
    """Return a line for each score of a task, a column for each encoder."""
    encoders = encoders_of(tasks)
    rows = []
    for results in tasks:
        for score in results["task"]["scores"]:
            summaries = [summary_of(results, encoder, score) for encoder in encoders]
            better: Better = "less" if score.endswith("_er") else "more"
            rows.append(TableRow(f"{results['task']['name']}, {score}", _SCALE.cells(summaries, better), better))
    columns = [Column(shown_name(encoder)) for encoder in encoders]
    notes = " ".join(f"Protocol: {words}." for words in sorted({results["protocol"] for results in tasks}))
    return Table("Test scores", source, "task, score", columns, rows, notes) if rows else None


def _task_table(source: str, tasks: Sequence[JsonObject]) -> Table | None:
    rows = []
    for task in (results["task"] for results in tasks):
        kind = "events in time" if task["kind"] == "event" else f"whole recordings, {task['prediction']}"
        numbers = [str(task["classes"]), str(task["recordings"]), str(len(task["divisions"]))]
        rows.append(TableRow(task["name"], [Cell(text) for text in (*numbers, kind)]))
    columns = [Column("classes"), Column("recordings"), Column("folds"), Column("kind", number=False)]
    return Table("Tasks", source, "task", columns, rows) if rows else None
