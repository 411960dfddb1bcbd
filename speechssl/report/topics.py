"""The section on topics: the topic map, agreement with the metadata, and the topics one by one."""

from __future__ import annotations

from typing import Any

from speechssl.report.facts import facts_table
from speechssl.report.findings import Findings
from speechssl.report.plots import bar_plot, picture_uri
from speechssl.report.reading import is_number
from speechssl.report.tables import (
    Better,
    Cell,
    Column,
    Figure,
    Section,
    Table,
    TableRow,
    known_text,
    number_text,
    present,
)

AGREEMENT: dict[str, tuple[str, Better]] = {
    "nmi": ("NMI", "more"),
    "homogeneity": ("homogeneity", "more"),
    "values": ("values", ""),
    "utterances": ("utterances", ""),
}
"""Numbers of a metadata column in topics/quality.json -> what they are called."""
SHOWN_WORDS = 8
"""Top words of each topic in the table; the file has more."""


def topics_section(found: Findings) -> Section:
    """Return the topic map, agreement with every metadata column, and the topics one by one."""
    section = Section(
        "topics",
        "Topics",
        "One topic an utterance, from a topic model of its units. NMI with a metadata column: 0 where topics and "
        "column know nothing of each other, 1 where they are the same. Homogeneity: the share of the column's entropy "
        "that the topics explain. Coherence (UMass): 0 at best, the more negative the less often the top words of a "
        "topic share an utterance.",
    )
    source = f"{found.exp}/topics/quality.json"
    section.tables = present([_agreement_table(source, found.topics)])
    section.figures = _agreement_figure(found.topics)
    for picture in found.pictures:
        alt = f"Picture {picture.name}: topic sizes, and the share of each topic in each value of the metadata columns."
        section.figures.append(Figure(picture_uri(picture), alt, f"Topic map (topics/{picture.name})", wide=True))
    model = {name: value for name, value in found.topics.items() if is_number(value)}
    details = (
        facts_table("Topic model", source, model),
        _split_table(source, _splits(found.topics)),
        _topic_table(source, found.topics),
    )
    section.detail_tables = present(details)
    return section


def _agreement_table(source: str, quality: dict[str, Any]) -> Table | None:
    """Return agreement with each metadata column over all splits together, and the NMI in each split."""
    splits = _splits(quality)
    rows = []
    for name, numbers in quality.get("columns", {}).items():
        by_split = [split.get("columns", {}).get(name, {}).get("nmi") for split in splits.values()]
        rows.append(TableRow(name, [Cell(known_text(value)) for value in [*map(numbers.get, AGREEMENT), *by_split]]))
    heads = [Column(title, better) for title, better in AGREEMENT.values()]
    heads += [Column(split, "more", "NMI by split") for split in splits]
    return Table("Topics and metadata", source, "metadata column", heads, rows) if rows else None


def _agreement_figure(quality: dict[str, Any]) -> list[Figure]:
    """Return bars of the NMI with each column that has one."""
    known = {
        name: numbers["nmi"] for name, numbers in quality.get("columns", {}).items() if is_number(numbers.get("nmi"))
    }
    if not known:
        return []
    said = "; ".join(f"{name} {number_text(value)}" for name, value in known.items())
    uri = bar_plot(known, "NMI with topics (0 to 1)")
    return [Figure(uri, f"NMI of topics with metadata: {said}.", "Topics and metadata")]


def _split_table(source: str, splits: dict[str, Any]) -> Table | None:
    """Return the numbers of each split."""
    names = list(dict.fromkeys(key for split in splits.values() for key, value in split.items() if is_number(value)))
    rows = [
        TableRow(name.replace("_", " "), [Cell(known_text(split.get(name))) for split in splits.values()])
        for name in names
    ]
    return Table("Topics by split", source, "measure", [Column(split) for split in splits], rows) if rows else None


def _topic_table(source: str, quality: dict[str, Any]) -> Table | None:
    splits = _splits(quality)
    words = quality.get("top_words") or []
    coherence = quality.get("topic_coherence_umass") or []
    if not words:
        return None
    rows = []
    for topic, listed in enumerate(words):
        sizes = [_at(split.get("topic_sizes"), topic) for split in splits.values()]
        cells = [*(Cell(known_text(size)) for size in sizes), Cell(known_text(_at(coherence, topic)))]
        rows.append(TableRow(str(topic), [*cells, Cell(", ".join(str(word) for word, _ in listed[:SHOWN_WORDS]))]))
    heads = [Column(split, group="utterances") for split in splits]
    heads += [Column("coherence", "more"), Column("top words (units)", number=False)]
    return Table("Topics one by one", source, "topic", heads, rows)


def _splits(quality: dict[str, Any]) -> dict[str, Any]:
    return {name: split for name, split in quality.get("splits", {}).items() if isinstance(split, dict)}


def _at(values: Any, place: int) -> Any:
    return values[place] if isinstance(values, list) and place < len(values) else None
