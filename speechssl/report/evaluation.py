"""The evaluation section: the table of probes, and curves over layers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechssl.report.encoders import SIZES, encoder_table, in_order, left_out_table, shown_name
from speechssl.report.findings import Findings
from speechssl.report.plots import Line, colours_of, line_plot
from speechssl.report.reading import is_number
from speechssl.report.tables import (
    Better,
    Cell,
    Column,
    Figure,
    Section,
    Table,
    TableRow,
    best_rows,
    known_text,
    mean_or_none,
    number_text,
    present,
    spread_text,
)

READINGS = {"best": "best layer", "weighted": "weighted sum", "value": ""}
"""Score of a task, by its key in the results -> what it is called."""
CHANCE = "chance"
"""Key of a task's description that says what is reached without listening."""

ScoreJson = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """Content of `evaluate/results.json`."""

    tasks: dict[str, dict[str, Any]]
    """Name -> what is measured on what: `metric`, `better`, sizes ..."""
    scores: dict[str, dict[str, list[ScoreJson]]]
    """Encoder -> task -> one score a seed."""
    left_out: list[dict[str, Any]]
    """`what` was not probed, and the `reason`."""
    facts: dict[str, dict[str, Any]]
    """Encoder -> parameters, layers, width, frame rate, sources."""

    def encoders(self) -> list[str]:
        """Return the encoders in the order of the page."""
        return in_order(self.scores)

    def values(self, encoder: str, task: str, reading: str) -> list[float]:
        """Return one number a seed."""
        scores = self.scores.get(encoder, {}).get(task, [])
        return [float(score[reading]) for score in scores if is_number(score.get(reading))]

    def curves(self, encoder: str, task: str, key: str) -> list[list[float]]:
        """Return one number a layer, for each seed."""
        return [score[key] for score in self.scores.get(encoder, {}).get(task, []) if score.get(key)]


def evaluation_section(found: Findings) -> Section:
    """Return the probe table, per-layer scores, layer weights, what is measured, and what was left out."""
    source = found.exp / "evaluate/results.json"
    results = read_results(found.evaluation)
    section = Section(
        "evaluation",
        "Evaluation of frozen encoders",
        "Encoders are frozen, only linear probes are trained. Best layer: the layer that the dev part chose, scored on "
        "the test part. Weighted sum: a softmax-weighted sum of all layers. Chance: any of the classes or candidates, "
        "and of phones and units always the most frequent. \u00b1 is the standard deviation over seeds "
        "(n \u2212 1); a value without it is of one seed. "
        "The best of each line is bold.",
    )
    known = {encoder: results.facts[encoder] for encoder in results.encoders() if encoder in results.facts}
    encoders = encoder_table(str(source), known, {"parameters": "parameters", "num_layers": "layers"} | SIZES)
    details = (encoders, _task_table(source, results), left_out_table(str(source), results.left_out))
    section.tables = present([_probe_table(source, results)])
    section.detail_tables = present(details)
    for task, description in results.tasks.items():
        figures = section.figures if _comes_first(task, description) else section.more_figures
        name = _measure(task, description)
        figures += _layer_figure(results, task, "layers", name, f"{name}, by layer")
        figures += _layer_figure(results, task, "layer_weights", "weight", f"Weights of the layers for {task}")
    return section


def read_results(value: dict[str, Any]) -> Results:
    """Return what `evaluate/results.json` (`speechssl.evaluation.probes.results`) holds; empty where there is none."""
    return Results(
        value.get("tasks", {}), value.get("scores", {}), value.get("left_out", []), value.get("encoders", {})
    )


def _measure(task: str, description: dict[str, Any]) -> str:
    """Return task and metric, without saying one of them twice."""
    metric = str(description.get("metric", "score"))
    if metric.lower() in task.lower():
        return metric if len(metric) == len(task) else task
    return f"{task}, {metric}"


def _comes_first(task: str, description: dict[str, Any]) -> bool:
    """Tell the tasks whose curves are shown at once (phones, RankMe) from those to unfold."""
    return description.get("metric") == "RankMe" or task.startswith("phones")


def _probe_table(source: Path, results: Results) -> Table | None:
    """Return a line for each task and reading, a column for each encoder."""
    encoders = results.encoders()
    rows = []
    for task, description in results.tasks.items():
        better = _better(description)
        for reading, title in READINGS.items():
            values = [results.values(encoder, task, reading) for encoder in encoders]
            if not any(values):
                continue
            best = best_rows([mean_or_none(seeds) for seeds in values], better)
            cells = [Cell(spread_text(seeds), number in best) for number, seeds in enumerate(values)]
            name = ", ".join(part for part in (_measure(task, description), title) if part)
            rows.append(TableRow(name, [Cell(known_text(description.get(CHANCE))), *cells], better))
    if not rows:
        return None
    columns = [Column("chance"), *(Column(shown_name(encoder)) for encoder in encoders)]
    return Table("Probes", str(source), "task", columns, rows)


def _task_table(source: Path, results: Results) -> Table | None:
    """Return what each task is measured on."""
    rows = []
    for task, description in results.tasks.items():
        facts = [(key, value) for key, value in description.items() if key not in ("metric", "better", CHANCE)]
        text = "; ".join(f"{key.replace('_', ' ')}: {_said(value)}" for key, value in facts)
        rows.append(TableRow(task, [Cell(text)]))
    return Table("What is measured", str(source), "task", [Column("how", number=False)], rows) if rows else None


def _layer_figure(results: Results, task: str, key: str, axis: str, caption: str) -> list[Figure]:
    """Return one figure, or none where no encoder has more than one layer."""
    curves = {encoder: results.curves(encoder, task, key) for encoder in results.encoders()}
    deepest = max((len(seed) for seeds in curves.values() for seed in seeds), default=0)
    if deepest < 2:
        return []
    lines = []
    for (encoder, seeds), colour in zip(curves.items(), colours_of(list(curves)), strict=True):
        if seeds and (len(seeds[0]) > 1 or key == "layers"):
            lines.append(_line(shown_name(encoder), seeds, colour, deepest))
    peaks = "; ".join(f"{line.label} {', '.join(map(number_text, line.y))}" for line in lines)
    note = ", mean of seeds, band: their standard deviation" if any(line.spread for line in lines) else ""
    uri = line_plot(lines, "layer (0: input of the first)", axis, markers=True, x_axis="whole")
    return [Figure(uri, f"{caption}, layer after layer: {peaks}.", caption + note)]


def _line(label: str, seeds: Sequence[Sequence[float]], colour: int, deepest: int) -> Line:
    """Return the mean over seeds; what has one layer only (filterbanks) is drawn as a level to compare with."""
    layers = list(zip(*seeds, strict=True))
    means = [statistics.fmean(layer) for layer in layers]
    if len(means) == 1:
        return Line(label, [0, deepest - 1], means * 2, colour, dash=1)
    spread = [statistics.stdev(layer) for layer in layers] if len(seeds) > 1 else None
    return Line(label, range(len(means)), means, colour, spread=spread)


def _better(description: dict[str, Any]) -> Better:
    better = description.get("better")
    return better if better in ("more", "less") else ""


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    return number_text(value) if is_number(value) else str(value)
