"""The pretraining section: curves of every method and seed, and where they ended."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from speechssl.report.findings import Findings, Metrics, Run
from speechssl.report.plots import Line, colours_of, line_plot
from speechssl.report.tables import (
    Better,
    Cell,
    Column,
    Figure,
    Fold,
    Section,
    Table,
    TableRow,
    number_text,
    present,
    spread_text,
)

MEASURES: dict[str, tuple[str, Better]] = {
    "masked_loss": ("masked loss (nats a frame)", "less"),
    "masked_accuracy": ("masked accuracy", "more"),
    "topic_loss": ("topic loss (nats an utterance)", "less"),
    "topic_accuracy": ("topic accuracy", "more"),
    "cluster_loss": ("cluster loss (nats a clip)", "less"),
    "cluster_accuracy": ("cluster accuracy", "more"),
    "contrast_loss": ("contrastive loss (nats a clip)", "less"),
    "contrast_accuracy": ("contrastive accuracy", "more"),
    "cluster_contrast_loss": ("contrastive loss of clusters", "less"),
    "barlow_loss": ("Barlow Twins loss", "less"),
    "mix_loss": ("Barlow Twins loss of mixtures", "less"),
    "byol_loss": ("BYOL loss", "less"),
    "distillation_loss": ("distillation loss, of all terms", "less"),
    "pseudo_label_loss": ("pseudo-label loss (nats a clip)", "less"),
    "pseudo_label_accuracy": ("pseudo-label accuracy", "more"),
    "rankme": ("RankMe", ""),
    "feature_variance": ("feature variance", ""),
    "knn_accuracy": ("accuracy of nearest neighbours", "more"),
    "loss": ("loss", "less"),
}
"""Measures shown first, by their key in the metrics; any others are to unfold, under their key."""
COLLAPSE = ("rankme", "feature_variance", "knn_accuracy")
"""Measures of held-out clips in which collapse shows (`speechssl.objectives.collapse`)."""
UNITS = {
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "audio_seconds_per_second": "audio seconds a second",
    "audio_seconds": "seconds of audio since the last line",
    "data_epoch": "pass over the data",
    "data_time": "seconds of waiting for data since the last line",
    "compute_time": "seconds of computing since the last line",
    "wall_time": "seconds since the process started",
}
COUNTS = ("step", "epoch")


def training_section(found: Findings) -> Section:
    """Return curves and a table of last values for all runs."""
    runs = found.runs
    section = Section(
        "pretraining",
        "Training",
        "One colour a method, one kind of dash a seed. Train values are those of the training batches, "
        "valid values those of held-out audio. Accuracies are fractions of 1.",
    )
    for key in _keys(runs):
        for split in ("train", "valid"):
            figure = _curve(runs, key, split)
            if figure is not None:
                (section.figures if key in MEASURES else section.more_figures).append(figure)
    section.tables = present([_method_table(found.exp, runs), _collapse_table(found.exp, runs)])
    section.detail_tables = present([_run_table(found.exp, runs)])
    section.folds = [Fold(f"Settings of {run.folder}", run.config) for run in runs if run.config]
    return section


def rows_of(run: Run, split: str) -> list[Metrics]:
    """Return the metrics of one split."""
    return run.train if split == "train" else run.valid


def _keys(runs: Sequence[Run]) -> list[str]:
    """Return the keys to draw: known measures first, then the rest by name."""
    found = {key for run in runs for row in run.train + run.valid for key in row if key not in COUNTS}
    known = [key for key in MEASURES if key in found]
    return known + sorted(found - set(known))


def _curve(runs: Sequence[Run], key: str, split: str) -> Figure | None:
    methods = list(dict.fromkeys(run.method for run in runs))
    colours = dict(zip(methods, colours_of(methods), strict=True))
    seeds = sorted({run.seed for run in runs})
    lines = []
    for run in runs:
        rows = [row for row in rows_of(run, split) if math.isfinite(row.get(key, math.nan))]
        if rows:
            x, y = [row["step"] for row in rows], [row[key] for row in rows]
            lines.append(Line(run.label, x, y, colours[run.method], seeds.index(run.seed)))
    if not lines:
        return None
    name = MEASURES[key][0] if key in MEASURES else UNITS.get(key, key.replace("_", " "))
    uri = line_plot(lines, "training step", name, markers=split == "valid", from_zero=key in COLLAPSE)
    ends = "; ".join(f"{line.label} ends at {number_text(line.y[-1])}" for line in lines)
    return Figure(uri, f"{name}, {split}, against training step: {ends}.", f"{_capital(name)}, {split}")


def _method_table(exp: Path, runs: Sequence[Run]) -> Table | None:
    """Return the last values, mean and spread over the seeds of each method."""
    methods = list(dict.fromkeys(run.method for run in runs))
    rows = []
    for key, split in _shown(runs):
        name, better = MEASURES[key]
        values = [
            [value for run in runs if run.method == method for value in _last(run, key, split)] for method in methods
        ]
        rows.append(TableRow(f"{name}, {split}", [Cell(spread_text(seeds)) for seeds in values], better))
    note = "Last line of each run; \u00b1 is the standard deviation over seeds (n \u2212 1)."
    columns = [Column(f"{method}, {_seeds(runs, method)}") for method in methods]
    return Table("Where the runs ended", _source(exp), "measure", columns, rows, note) if rows else None


def _collapse_table(exp: Path, runs: Sequence[Run]) -> Table | None:
    """Return how the signs of collapse of each run began, where they were lowest, and how they ended."""
    keys = [key for key in COLLAPSE if any(_all(run, key, "valid") for run in runs)]
    rows = []
    for run in runs:
        values = [_all(run, key, "valid") for key in keys]
        if any(values):
            cells = [Cell(_text(number)) for seen in values for number in (seen[:1], sorted(seen)[:1], seen[-1:])]
            rows.append(TableRow(run.label, cells))
    columns = [Column(when, group=MEASURES[key][0]) for key in keys for when in ("first", "lowest", "last")]
    note = (
        "RankMe: how many directions the vectors of held-out clips fill, at most their width or number. Feature "
        "variance: 0 where all vectors point the same way, 1 where they point in all directions. RankMe near 1, or a "
        "variance near 0: the encoder has collapsed."
    )
    return Table("Signs of collapse", _source(exp), "run", columns, rows, note) if rows else None


def _run_table(exp: Path, runs: Sequence[Run]) -> Table | None:
    """Return steps, speed and last values of each run."""
    rows = [
        TableRow("training steps", [Cell(_text([int(run.train[-1]["step"])] if run.train else [])) for run in runs]),
        TableRow("audio seconds a second, median", [Cell(_text(_speed(run))) for run in runs]),
    ]
    for key, split in _shown(runs):
        name, better = MEASURES[key]
        rows.append(TableRow(f"{name}, {split}", [Cell(_text(_last(run, key, split))) for run in runs], better))
    columns = [Column(f"seed {run.seed}", group=run.method) for run in runs]
    return Table("Each run", _source(exp), "measure", columns, rows) if runs else None


def _source(exp: Path) -> str:
    return f"{exp}/<run>/metrics/{{train,valid}}.jsonl"


def _shown(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return the measures, with the split, that any run has."""
    return [
        (key, split)
        for key in MEASURES
        for split in ("train", "valid")
        if any(key in row for run in runs for row in rows_of(run, split))
    ]


def _seeds(runs: Sequence[Run], method: str) -> str:
    count = sum(run.method == method for run in runs)
    return f"{count} seed" if count == 1 else f"{count} seeds"


def _speed(run: Run) -> list[float]:
    speeds = [row["audio_seconds_per_second"] for row in run.train if "audio_seconds_per_second" in row]
    return [statistics.median(speeds)] if speeds else []


def _text(values: Sequence[float]) -> str:
    return number_text(values[0]) if values else "\u2013"


def _last(run: Run, key: str, split: str) -> list[float]:
    return _all(run, key, split)[-1:]


def _all(run: Run, key: str, split: str) -> list[float]:
    return [row[key] for row in rows_of(run, split) if key in row]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
