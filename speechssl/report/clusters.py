"""The section on clusters: how many there are and why, how large they are, and what they agree with."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable

from speechssl.report.findings import Findings
from speechssl.report.folders import CLUSTER_QUALITY, method_and_seed
from speechssl.report.plots import Line, bar_plot, colours_of, line_plot
from speechssl.report.reading import JsonObject, is_number
from speechssl.report.tables import (
    Cell,
    Column,
    Figure,
    Section,
    Table,
    TableRow,
    known_text,
    number_text,
    present,
    spread_text,
)

AGREEMENT = {"nmi": "NMI", "homogeneity": "homogeneity"}
"""Numbers of a metadata column in a clustering's `quality.json` -> what they are called."""

SIZES: dict[str, Callable[[list[int]], int]] = {
    "recordings": sum,
    "largest cluster": max,
    "median cluster": statistics.median_low,
    "smallest cluster": min,
    "empty clusters": lambda sizes: sizes.count(0),
}
"""What is said of the sizes of the clusters."""


def clusters_section(found: Findings) -> Section:
    """Return number and sizes of the clusters, what their number was chosen by, and agreement with the metadata."""
    section = Section(
        "clusters",
        "Clusters",
        "One cluster a recording: pseudo-labels from k-means on whitened vectors of a pretrained encoder. NMI with a "
        "metadata column: 0 where clusters and column know nothing of each other, 1 where they are the same; with "
        "more clusters than values it stays below 1. Homogeneity: the share of the column's entropy that the clusters "
        "explain. \u00b1 is the standard deviation over seeds (n \u2212 1).",
    )
    section.tables = present([_size_table(found), _agreement_table(found)])
    section.figures = [*_choice_figure(found.clusters), *_size_figures(found.clusters), *_agreement_figure(found)]
    return section


def _size_table(found: Findings) -> Table | None:
    """Return number and sizes of the clusters, a column for each clustering."""
    qualities = list(found.clusters.values())
    rows = [
        TableRow("clusters", [Cell(known_text(quality.get("k"))) for quality in qualities]),
        TableRow("chosen by", [Cell(_choice(quality)) for quality in qualities]),
    ]
    for split in _splits(qualities):
        sizes = [quality.get(split, {}).get("sizes", []) for quality in qualities]
        for name, measure in SIZES.items():
            cells = [Cell(known_text(measure(each) if each else None)) for each in sizes]
            rows.append(TableRow(f"{name}, {split}", cells))
    columns = [Column(folder) for folder in found.clusters]
    return Table("Number and sizes", _source(found), "measure", columns, rows) if qualities else None


def _agreement_table(found: Findings) -> Table | None:
    """Return a line for each metadata column of each target: mean and spread over the clusterings of the target."""
    splits = _splits(list(found.clusters.values()))
    rows = []
    for name, column, qualities in _compared(found):
        values = [number for split in splits for number in _numbers(qualities, split, column, "values")]
        cells = [Cell(known_text(max(values, default=None)))]
        cells += [Cell(spread_text(_numbers(qualities, split, column, key))) for key in AGREEMENT for split in splits]
        rows.append(TableRow(name, cells))
    columns = [Column("values")]
    columns += [Column(split, "more", group=title) for title in AGREEMENT.values() for split in splits]
    return Table("Clusters and metadata", _source(found), "metadata column", columns, rows) if rows else None


def _compared(found: Findings) -> list[tuple[str, str, list[JsonObject]]]:
    """Return name, metadata column and clusterings of each comparison. With several targets they are named."""
    targets: dict[str, list[JsonObject]] = {}
    for folder, quality in found.clusters.items():
        targets.setdefault(method_and_seed(folder)[0], []).append(quality)
    return [
        (column if len(targets) == 1 else f"{column}, {target}", column, qualities)
        for target, qualities in targets.items()
        for column in _columns(qualities)
    ]


def _choice_figure(clusters: dict[str, JsonObject]) -> list[Figure]:
    """Return the silhouette of each number of clusters that was tried; nothing where the number was given."""
    lines, told, looks = [], [], _looks(clusters)
    for folder, quality in clusters.items():
        tried = {int(k): score for k, score in quality.get("silhouette", {}).items()}
        if tried:
            lines.append(Line(folder, sorted(tried), [tried[k] for k in sorted(tried)], *looks[folder]))
            told.append(f"{folder} has {quality.get('k')} clusters")
    if not lines:
        return []
    uri = line_plot(lines, "clusters", "silhouette (\u22121 to 1)", markers=True, x_axis="whole")
    text = f"Silhouette of each number of clusters that was tried; the highest counts: {', '.join(told)}"
    return [Figure(uri, f"{text}.", text)]


def _size_figures(clusters: dict[str, JsonObject]) -> list[Figure]:
    """Return the sizes of the clusters of each split, largest first."""
    figures, looks = [], _looks(clusters)
    for split in _splits(list(clusters.values())):
        lines = []
        for folder, quality in clusters.items():
            sizes = sorted(quality.get(split, {}).get("sizes", []), reverse=True)
            if sizes:
                lines.append(Line(folder, range(1, len(sizes) + 1), sizes, *looks[folder]))
        if lines:
            uri = line_plot(lines, "clusters, largest first", "recordings", x_axis="whole", from_zero=True)
            told = "; ".join(f"{line.label} from {line.y[0]} to {line.y[-1]}" for line in lines)
            figures.append(Figure(uri, f"Recordings a cluster, {split}: {told}.", f"Sizes of the clusters, {split}"))
    return figures


def _looks(clusters: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return colour and dash of each folder: one colour a target, one kind of dash a seed."""
    known = [(folder, *method_and_seed(folder)) for folder in clusters]
    targets = list(dict.fromkeys(target for _, target, _ in known))
    colours = dict(zip(targets, colours_of(targets), strict=True))
    seeds = sorted({seed for _, _, seed in known})
    return {folder: (colours[target], seeds.index(seed)) for folder, target, seed in known}


def _agreement_figure(found: Findings) -> list[Figure]:
    """Return bars of the NMI with each column, of the split that was clustered."""
    for split in _splits(list(found.clusters.values()))[:1]:
        seeds = {name: _numbers(qualities, split, column, "nmi") for name, column, qualities in _compared(found)}
        bars = {name: statistics.fmean(values) for name, values in seeds.items() if values}
        if bars:
            told = "; ".join(f"{name} {number_text(value)}" for name, value in bars.items())
            uri = bar_plot(bars, "NMI with clusters (0 to 1)")
            return [Figure(uri, f"NMI of clusters with metadata: {told}.", f"Clusters and metadata, {split}")]
    return []


def _choice(quality: JsonObject) -> str:
    score = quality.get("silhouette", {}).get(str(quality.get("k")))
    return f"highest silhouette, {number_text(score)}" if is_number(score) else "given"


def _splits(qualities: list[JsonObject]) -> list[str]:
    """Return the names of the splits: that which was clustered first."""
    found = (
        name
        for quality in qualities
        for name, value in quality.items()
        if isinstance(value, dict) and "recordings" in value
    )
    return sorted(dict.fromkeys(found), key=lambda name: name != "train")


def _columns(qualities: list[JsonObject]) -> list[str]:
    """Return the metadata columns that any clustering was compared with."""
    names = (
        name for quality in qualities for split in _splits([quality]) for name in quality[split].get("columns", {})
    )
    return list(dict.fromkeys(names))


def _numbers(qualities: list[JsonObject], split: str, column: str, key: str) -> list[float]:
    """Return one number a clustering that has it."""
    found = (quality.get(split, {}).get("columns", {}).get(column, {}).get(key) for quality in qualities)
    return [value for value in found if is_number(value)]


def _source(found: Findings) -> str:
    return f"{found.exp}/{CLUSTER_QUALITY}"
