"""Libri2Mix for SD: Kaldi folders of mixtures of two speakers, as LibriMix's scripts make them for s3prl."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.kaldi import read_kaldi_map
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
