"""IEMOCAP for ER: neutral, happy (with excited), sad and angry, in five sessions that are tested in turn."""

from __future__ import annotations

from pathlib import Path

from speechssl.data.corpora import CorpusSettings, open_corpus
from speechssl.evaluation.superb.corpora.layout import FOLDS, CorpusTask, Need, Parts, Place

_URL = "https://sail.usc.edu/iemocap (by request)"
_SESSIONS = tuple(f"Session{number}" for number in range(1, 6))
_EMOTIONS = "dialog/EmoEvaluation"
_FOLDERS = (_EMOTIONS, "sentences/wav")


def _rows(place: Place) -> Parts:
    """Return all 5531 utterances of the four emotions, with `label`, `fold`, `speaker`, `gender` and `act`."""
    rows = []
    for entry in open_corpus(CorpusSettings(name="iemocap", audio_dir=str(place.root))).entries():
        emotion = entry.labels.get("emotion4")
        if emotion:
            path = place.root / entry.path
            known = {name: entry.labels[name] for name in ("speaker", "gender", "act")}
            fold = entry.labels["session"].lower()
            rows.append({"id": Path(entry.path).stem, "path": str(path), "label": emotion, "fold": fold, **known})
    return {FOLDS: rows}


ER = CorpusTask(
    "IEMOCAP",
    ("IEMOCAP_full_release", "IEMOCAP"),
    tuple(Need((f"{session}/{folder}",), _URL) for session in _SESSIONS for folder in _FOLDERS),
    _rows,
    metadata=("speaker", "gender", "act"),
    labels=tuple(f"{session}/{_EMOTIONS}/Ses*.txt" for session in _SESSIONS),
)
