"""The section on units: how good the frame labels are."""

from __future__ import annotations

from speechssl.report.facts import facts_table
from speechssl.report.findings import Findings, flat_numbers
from speechssl.report.plots import panel_plot
from speechssl.report.tables import Better, Cell, Column, Figure, Section, Table, TableRow, number_text, present

UNIT_MEASURES: dict[str, tuple[str, Better]] = {
    "pnmi": ("PNMI", "more"),
    "phone_purity": ("phone purity", "more"),
    "cluster_purity": ("cluster purity", "more"),
    "run_length": ("mean run length (frames)", ""),
    "used_clusters": ("used clusters", ""),
    "perplexity": ("perplexity of units", ""),
}
"""Measures that are drawn, by their key in units/quality.json; all numbers of the file are in the table."""


def units_section(found: Findings) -> Section:
    """Return the unit quality of every split, and what is known of the k-means."""
    section = Section(
        "units",
        "Units",
        "Frame labels from k-means. Where phone times are known: PNMI is the share of the phones' entropy that the "
        "units explain, phone purity the accuracy of giving each unit its most frequent phone, cluster purity the "
        "reverse. Healthy labels come in runs and use nearly all clusters.",
    )
    splits = {split: dict(flat_numbers(numbers)) for split, numbers in found.units.items() if isinstance(numbers, dict)}
    measures = list(dict.fromkeys(name for numbers in splits.values() for name in numbers))
    measures.sort(key=lambda name: list(UNIT_MEASURES).index(name) if name in UNIT_MEASURES else len(UNIT_MEASURES))
    if measures:
        section.tables.append(_units_table(found, splits, measures))
    panels = {
        UNIT_MEASURES[name][0]: {split: numbers[name] for split, numbers in splits.items() if name in numbers}
        for name in measures
        if name in UNIT_MEASURES
    }
    if panels:
        section.figures.append(Figure(panel_plot(panels), f"Bars: {_said(panels)}.", "Unit quality by split"))
    section.detail_tables = present([facts_table("K-means", f"{found.exp}/units/kmeans.json", found.kmeans)])
    return section


def _units_table(found: Findings, splits: dict[str, dict[str, float]], measures: list[str]) -> Table:
    rows = []
    for name in measures:
        label, better = UNIT_MEASURES.get(name, (name.replace("_", " "), ""))
        rows.append(TableRow(label, [_cell(numbers.get(name)) for numbers in splits.values()], better))
    columns = [Column(split) for split in splits]
    return Table("Unit quality", f"{found.exp}/units/quality.json", "measure", columns, rows)


def _cell(value: float | None) -> Cell:
    return Cell("\u2013" if value is None else number_text(value))


def _said(panels: dict[str, dict[str, float]]) -> str:
    return "; ".join(
        f"{title}: " + ", ".join(f"{name} {number_text(value)}" for name, value in panel.items())
        for title, panel in panels.items()
    )
