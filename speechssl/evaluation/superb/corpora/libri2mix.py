"""Libri2Mix, mixtures of two speakers.

For SD Kaldi folders, as LibriMix's scripts make them for s3prl; for SS the mixtures of 16 kHz without noise, as short
as the shorter source.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.kaldi import read_kaldi_map
from speechssl.data.walk import walk_audio
from speechssl.errors import UserError
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row

_URL = "https://github.com/s3prl/LibriMix (scripts/prepare_diarization.py makes it)"
_FOLDERS = {"train": "train", "valid": "dev", "test": "test"}
_TABLES = ("wav.scp", "segments", "utt2spk")


def _rows(place: Place) -> Parts:
    """Return a row a mixture. A path of wav.scp that is not absolute starts from the corpus's folder."""
    return {part: list(_mixtures(place.root, folder)) for part, folder in _FOLDERS.items()}


def _mixtures(root: Path, folder: str) -> Iterator[Row]:
    for name, path in read_kaldi_map(root / folder / "wav.scp").items():
        yield {"id": name, "path": str(root / path)}


def _segments(place: Place, parts: Parts) -> Parts:
    """Return who speaks when: `id` of the mixture, `start` and `end` in seconds, `speaker`."""
    return {part: list(_read_segments(place.root / folder)) for part, folder in _FOLDERS.items()}


def _read_segments(folder: Path) -> Iterator[Row]:
    speakers = read_kaldi_map(folder / "utt2spk")
    for utterance, rest in read_kaldi_map(folder / "segments").items():
        try:
            name, start, end = rest.split()
            speaker = speakers[utterance]
        except (ValueError, KeyError) as error:
            raise UserError(
                f"{folder / 'segments'}: {utterance} is not `utterance mixture start end` with a speaker in utt2spk; "
                "make it again"
            ) from error
        yield {"id": name, "start": start, "end": end, "speaker": speaker}


SD = CorpusTask(
    "Libri2Mix",
    ("Libri2Mix", "libri2mix"),
    tuple(Need((f"{folder}/{table}",), _URL) for folder in _FOLDERS.values() for table in _TABLES),
    _rows,
    beside=_segments,
)


_SS_ROOT = "wav16k/min"
_SS_URL = "https://github.com/s3prl/LibriMix (generate_librimix_ss.sh makes it)"
_SS_FOLDERS = {"train": "train-100", "valid": "dev", "test": "test"}
_MIXTURES, _SOURCES = "mix_clean", ("s1", "s2")
_VALID_MIXTURES = 1000
"""Mixtures of the 3000 in `dev` that SUPERB-SG chooses on."""


def _ss_rows(place: Place) -> Parts:
    """Return rows with `source1` and `source2`; of `dev` those that s3prl's `subsample.py` draws."""
    parts = {part: _clean_mixtures(place.root / _SS_ROOT / folder) for part, folder in _SS_FOLDERS.items()}
    valid = parts["valid"]
    # Its seed, and its way of drawing.
    random.Random(7).shuffle(valid)
    return {**parts, "valid": valid[:_VALID_MIXTURES]}


def _clean_mixtures(folder: Path) -> list[Row]:
    rows = []
    for found in walk_audio(folder / _MIXTURES):
        sources = {f"source{number}": str(folder / name / found.path) for number, name in enumerate(_SOURCES, start=1)}
        path = folder / _MIXTURES / found.path
        rows.append({"id": path.stem, "path": str(path), **sources})
    return sorted(rows, key=lambda row: row["id"])


SS = CorpusTask(
    "Libri2Mix",
    ("Libri2Mix", "libri2mix"),
    tuple(
        Need((f"{_SS_ROOT}/{folder}/{name}",), _SS_URL)
        for folder in _SS_FOLDERS.values()
        for name in (_MIXTURES, *_SOURCES)
    ),
    _ss_rows,
)
