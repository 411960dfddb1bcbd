"""The section on SUPERB: the scores of frozen encoders in its tasks, and the layers that the heads listen to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from speechssl.report.benchmarks import Scale, encoders_of, facts_of, summary_of
from speechssl.report.encoders import encoder_table, in_order, left_out_table, shown_name
from speechssl.report.findings import Findings
from speechssl.report.plots import picture_uri
from speechssl.report.reading import LAYER_WEIGHTS, BenchmarkFolder, JsonObject
from speechssl.report.tables import Better, Cell, Column, Figure, Section, Table, TableRow, present

_PER_CENT = Scale(100, 2)
_OWN_UNIT = Scale(1, 2)


def superb_section(found: Findings) -> Section:
    """Return the scores of all tasks, the SUPERB score, layer weights, what is measured, and what was left out."""
    folder = found.superb
    source = f"{folder.path}/<task>/results.json"
    section = Section(
        "superb",
        "SUPERB: one head a task on frozen encoders",
        "Test scores, in per cent where no unit is named; \u00b1 is the standard deviation over seeds and encoders of "
        "one name (n \u2212 1). Published scores stand beside tasks that can be compared with them: on the official "
        "corpus, with the published training. The best of each line is bold, published ones apart.",
    )
    section.tables = present([_score_table(source, folder, first=True), _superb_score_table(folder)])
    section.figures = _layer_figure(folder)
    left_out = left_out_table(f"{folder.path}/results.json", folder.overview.get("left_out", []))
    others = (_score_table(source, folder, first=False), _task_table(source, folder.tasks))
    section.detail_tables = present([*others, encoder_table(source, facts_of(folder.tasks)), left_out])
    return section


def _score_table(source: str, folder: BenchmarkFolder, first: bool) -> Table | None:
    """Return a line for each first score of a task, or for each of the others."""
    encoders = encoders_of(folder.tasks)
    scores = [
        (results, score)
        for results in folder.tasks
        for score in (results["task"]["metrics"][:1] if first else results["task"]["metrics"][1:])
    ]
    published = {
        name: row
        for name, row in folder.overview.get("published", {}).items()
        if any(score in row.get(results["task"]["name"], {}) for results, score in scores)
    }
    differs = folder.overview.get("differs", {})
    rows = [_score_row(results, score, encoders, list(published.values()), differs) for results, score in scores]
    columns = [Column(shown_name(encoder)) for encoder in encoders]
    columns += [Column(name, group="published") for name in published]
    notes = " ".join(f"Protocol: {words}." for words in sorted({results["protocol"] for results in folder.tasks}))
    caption = "Test scores" if first else "Other test scores"
    return Table(caption, source, "task, score", columns, rows, notes if first else "") if rows else None


def _score_row(
    results: JsonObject,
    score: str,
    encoders: Sequence[str],
    published: Sequence[Mapping[str, Mapping[str, float]]],
    differs: Mapping[str, str],
) -> TableRow:
    task = results["task"]
    unit = task.get("units", {}).get(score)
    scale = _OWN_UNIT if unit else _PER_CENT
    better: Better = ""
    if score == task["metrics"][0]:
        better = "less" if task["lower_is_better"] else "more"
    summaries = [summary_of(results, encoder, score) for encoder in encoders]
    cells = scale.cells(summaries, better)
    cells += [Cell(scale.value(scores.get(task["name"], {}).get(score))) for scores in published]
    name = f"{task['name'].upper()} {score}{f' ({unit})' if unit else ''}"
    marked = f"{name}, {differs[task['name']]}" if task["name"] in differs else name
    return TableRow(marked, cells, better)


def _superb_score_table(folder: BenchmarkFolder) -> Table | None:
    """Return the SUPERB score of encoders that have all tasks, and what the others lack."""
    rows = []
    standings = folder.overview.get("superb_score", {})
    for encoder, standing in ((encoder, standings[encoder]) for encoder in in_order(standings)):
        score = f"{standing['score']:.0f}" if "score" in standing else "\u2013"
        rows.append(TableRow(shown_name(encoder), [Cell(score), Cell(", ".join(standing.get("missing", [])))]))
    columns = [Column("SUPERB score", "more"), Column("missing on the official corpora", number=False)]
    note = "Mean over the ten tasks, each from 0 (FBANK) to 1000 (the best of the published encoders)."
    return Table("SUPERB score", f"{folder.path}/results.json", "encoder", columns, rows, note) if rows else None


def _layer_figure(folder: BenchmarkFolder) -> list[Figure]:
    file = folder.path / LAYER_WEIGHTS
    if not folder.tasks or not file.is_file():
        return []
    title = "Weights of the hidden states"
    alt = f"Picture {file.name}: for each task the weight of each hidden state, a line an encoder."
    return [Figure(picture_uri(file), alt, f"{title}; band: standard deviation of the heads", wide=True)]


def _task_table(source: str, tasks: Sequence[JsonObject]) -> Table | None:
    rows = []
    for task in (results["task"] for results in tasks):
        sizes = ", ".join(f"{part} {number}" for part, number in task["utterances"].items())
        training = f"{task['steps']} updates of {task['batch_size']}" if "steps" in task else "none"
        rows.append(TableRow(task["name"].upper(), [Cell(text) for text in (task["title"], sizes, training)]))
    columns = [Column(name, number=False) for name in ("title", "utterances", "training")]
    return Table("Tasks", source, "task", columns, rows) if rows else None
