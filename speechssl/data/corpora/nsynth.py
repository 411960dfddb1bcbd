"""NSynth (arXiv 1704.01279): 305 979 notes of 4 s by 1006 instruments (CC BY 4.0)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_layout
from speechssl.data.corpora.listed import listed_entries
from speechssl.errors import UserError

_LABELS = {
    "instrument_family": "instrument_family_str",
    "instrument": "instrument_str",
    "instrument_source": "instrument_source_str",
    "pitch": "pitch",
    "velocity": "velocity",
}
"""Label column: its key in `examples.json`."""

_SPLITS = ("train", "valid", "test")


def nsynth(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels as below, the official splits.

    `instrument_family` is one of eleven, e.g. `bass`; `instrument_source` is acoustic, electronic or synthetic; `pitch`
    and `velocity` are MIDI's. No instrument of the split train is in valid or test.
    """
    hint = (
        "the folder with the unpacked archives (JSON and WAV) of https://magenta.tensorflow.org/datasets/nsynth: "
        "nsynth-train, nsynth-valid and nsynth-test"
    )
    parts = [f"nsynth-{split}/{part}" for split in _SPLITS for part in ("examples.json", "audio")]
    root = require_layout(settings, hint, parts)
    return Corpus(root, tuple(_LABELS), lambda: _entries(root))


def _entries(root: Path) -> Iterator[Entry]:
    for split in _SPLITS:
        yield from listed_entries(root, [f"nsynth-{split}/audio"], _listed(root, split), "examples.json")


def _listed(root: Path, split: str) -> Iterator[Entry]:
    table = root / f"nsynth-{split}/examples.json"
    try:
        # Each note is cut to its labels as it is read: those of train take gigabytes otherwise.
        notes = json.loads(table.read_bytes(), object_hook=_labels)
    except ValueError as error:
        raise UserError(f"{table} is not NSynth's table of notes ({error}); unpack the archive again") from error
    for name, labels in notes.items():
        yield Entry(f"nsynth-{split}/audio/{name}.wav", labels, split)


def _labels(record: dict[str, Any]) -> dict[str, Any]:
    """Return the labels of a note; the record that holds all notes stays as it is."""
    if "note_str" not in record:
        return record
    missing = [key for key in _LABELS.values() if key not in record]
    if missing:
        raise ValueError(f"{record['note_str']} has no {missing[0]}")
    return {label: str(record[key]) for label, key in _LABELS.items()}
