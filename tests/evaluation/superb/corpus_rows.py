"""What tests of the official corpora share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from speechssl.evaluation.superb.corpora import CORPORA
from speechssl.evaluation.superb.corpora.layout import Parts
from speechssl.evaluation.superb.data import Row


def rows_of(task: str, folder: Path, lexicon: Iterable[str] = ()) -> Parts:
    corpus = CORPORA[task]
    place = corpus.place(str(folder), tuple(lexicon))
    corpus.require(task, place)
    return corpus.rows(place)


def beside(task: str, folder: Path) -> Parts:
    corpus = CORPORA[task]
    assert corpus.beside is not None
    return corpus.beside(corpus.place(str(folder)), rows_of(task, folder))


def column(rows: Iterable[Row], name: str) -> dict[str, str]:
    return {row["id"]: row[name] for row in rows}


def paths(rows: Iterable[Row]) -> dict[str, Path]:
    return {row["id"]: Path(row["path"]).resolve() for row in rows}


def theirs(points: Mapping, name: str) -> dict[str, str]:
    return {key: str(point[name]) for key, point in points.items()}


def their_paths(points: Mapping, name: str = "wav_path") -> dict[str, Path]:
    return {key: Path(point[name]).resolve() for key, point in points.items()}
