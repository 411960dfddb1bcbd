"""VoiceBank-DEMAND for SE: noisy speech of 28 speakers to learn from; two other speakers and other noises to test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.walk import walk_audio
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row

_URL = "https://datashare.ed.ac.uk/handle/10283/2791"
_VALID = ("p226", "p287")
"""Speakers of the training set that s3prl holds out."""


def _need(name: str) -> Need:
    """Return a folder of the archive, as it is or at 16 kHz as s3prl's is."""
    return Need((f"{name}_16k", name), f"{_URL} ({name}.zip)")


_CLEAN, _NOISY = (
    {part: _need(f"{kind}_{part}_wav") for part in ("trainset_28spk", "testset")} for kind in ("clean", "noisy")
)


def _rows(place: Place) -> Parts:
    """Return rows with `clean` and `speaker`, as s3prl divides them."""
    known = list(_recordings(place.root, "trainset_28spk"))
    return {
        "train": [row for row in known if row["speaker"] not in _VALID],
        "valid": [row for row in known if row["speaker"] in _VALID],
        "test": list(_recordings(place.root, "testset")),
    }


def _recordings(root: Path, part: str) -> Iterator[Row]:
    noisy, clean = (needs[part].require(root) for needs in (_NOISY, _CLEAN))
    for found in walk_audio(noisy):
        path = noisy / found.path
        speaker = path.stem.split("_")[0]
        yield {"id": path.stem, "path": str(path), "clean": str(clean / found.path), "speaker": speaker}


SE = CorpusTask(
    "VoiceBank-DEMAND",
    ("VoiceBank-DEMAND", "voicebank", "noisy-vctk-16k", "DS_10283_2791"),
    (*_NOISY.values(), *_CLEAN.values()),
    _rows,
)
