"""Fluent Speech Commands for IC: `action`, `object` and `location` of a command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from speechssl.data.corpora.listed import read_csv
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row

_URL = "https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research"
_LABELS = ("action", "object", "location")
_OTHERS = ("speakerId", "transcription")
_DEMOGRAPHICS = "data/speaker_demographics.csv"
_OF_SPEAKER = {
    "gender": "gender",
    "ageRange": "age",
    "Self-reported fluency level": "fluency",
    "First Language spoken": "first_language",
}
"""Its columns, and what they are called here."""
_LISTS = {part: Need((f"data/{part}_data.csv",), _URL) for part in ("train", "valid", "test")}


def _rows(place: Place) -> Parts:
    """Return the official parts, as s3prl's `FluentSpeechCommands` reads them (not with pandas 2 and later).

    Rows also have `transcription`, `speaker`, and what `speaker_demographics.csv` says of the speaker.
    """
    speakers = _speakers(place.root)
    return {part: list(_read(place.root, need.require(place.root), speakers)) for part, need in _LISTS.items()}


def _speakers(root: Path) -> dict[str, Row]:
    """Return gender, age, fluency and first language of each speaker; of none where the table is not there."""
    table = root / _DEMOGRAPHICS
    if not table.is_file():
        return {}
    # The name of one column ends with a space.
    rows = [{name.strip(): cell for name, cell in row.items()} for row in read_csv(table, ("speakerId",))]
    return {row["speakerId"]: {name: row.get(theirs, "") for theirs, name in _OF_SPEAKER.items()} for row in rows}


def _read(root: Path, table: Path, speakers: Mapping[str, Row]) -> Iterator[Row]:
    unknown = dict.fromkeys(_OF_SPEAKER.values(), "")
    for row in read_csv(table, ("path", *_LABELS, *_OTHERS)):
        path = root / row["path"]
        labels = {name: row[name] for name in (*_LABELS, "transcription")}
        speaker = row["speakerId"]
        yield {"id": path.stem, "path": str(path), **labels, "speaker": speaker, **speakers.get(speaker, unknown)}


IC = CorpusTask(
    "Fluent Speech Commands",
    ("fluent_speech_commands_dataset",),
    (Need(("wavs",), _URL), *_LISTS.values()),
    _rows,
    _LABELS,
    optional=(_DEMOGRAPHICS,),
    metadata=("speaker", *_OF_SPEAKER.values()),
)
