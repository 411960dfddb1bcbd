"""Fluent Speech Commands for IC: `action`, `object` and `location` of a command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.listed import read_csv
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row

_URL = "https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research"
_LABELS = ("action", "object", "location")
_OTHERS = ("speakerId", "transcription")
_LISTS = {part: Need((f"data/{part}_data.csv",), _URL) for part in ("train", "valid", "test")}


def _rows(place: Place) -> Parts:
    """Return the official parts, as s3prl's `FluentSpeechCommands` reads them (not with pandas 2 and later)."""
    return {part: list(_read(place.root, need.require(place.root))) for part, need in _LISTS.items()}


def _read(root: Path, table: Path) -> Iterator[Row]:
    for row in read_csv(table, ("path", *_LABELS, *_OTHERS)):
        path = root / row["path"]
        labels = {name: row[name] for name in (*_LABELS, "transcription")}
        yield {"id": path.stem, "path": str(path), **labels, "speaker": row["speakerId"]}


IC = CorpusTask(
    "Fluent Speech Commands",
    ("fluent_speech_commands_dataset",),
    (Need(("wavs",), _URL), *_LISTS.values()),
    _rows,
    _LABELS,
)
