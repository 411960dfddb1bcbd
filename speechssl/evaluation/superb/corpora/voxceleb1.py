"""VoxCeleb1 for SID (the official identification split) and ASV (the official trials)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora import CorpusSettings, open_corpus
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row

_URL = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html"
_SPLIT = Need(("iden_split.txt",), f"{_URL[: _URL.rindex('/')]}/meta/iden_split.txt")
_AUDIO = Need(("wav", "dev/wav"), _URL)


def _sid_rows(place: Place) -> Parts:
    """Return rows with `label`, the speaker, and `gender` where vox1_meta.csv is there."""
    parts: dict[str, list[Row]] = {"train": [], "valid": [], "test": []}
    for split, row in _listed(place.root):
        parts[split].append(row)
    return parts


def _listed(root: Path) -> Iterator[tuple[str, Row]]:
    """Yield part and row of every utterance of iden_split.txt."""
    for entry in open_corpus(CorpusSettings(name="voxceleb1", audio_dir=str(root))).entries():
        if entry.split:
            path = root / entry.path
            name = "-".join([*path.parts[-3:-1], path.stem])
            row = {"id": name, "path": str(path), "label": entry.labels["speaker"], "gender": entry.labels["gender"]}
            yield entry.split, row


SID = CorpusTask("VoxCeleb1", ("VoxCeleb1", "Voxceleb1", "voxceleb1"), (_SPLIT, _AUDIO), _sid_rows)
