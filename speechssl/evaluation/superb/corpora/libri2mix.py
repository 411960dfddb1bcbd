"""Libri2Mix, mixtures of two speakers.

For SD the mixtures of 16 kHz with noise, as long as the longer source, and the files of s3prl's LibriMix that say when
each utterance of LibriSpeech is speech; or the Kaldi folders that its `prepare_diarization.py` makes of both. For SS
the mixtures of 16 kHz without noise, as short as the shorter source.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechssl.data.corpora.kaldi import read_kaldi_map
from speechssl.data.walk import walk_audio
from speechssl.errors import UserError
from speechssl.evaluation.superb.beside import rttm_lines
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row

_MIXTURES_URL = "https://github.com/s3prl/LibriMix (generate_librimix_sd.sh makes it)"
_SPEECH_URL = "https://github.com/s3prl/LibriMix (metadata/LibriSpeech has the .rttm; copy it to that place)"


@dataclass(frozen=True)
class _SdPart:
    """Where a part of SD is, from the corpus's folder."""

    kaldi: str
    """Its Kaldi folder."""
    mixtures: str
    """The folder of its mixtures."""
    speech: str
    """The RTTM that says when its sources are speech."""

    @property
    def needs(self) -> tuple[Need, ...]:
        return (
            Need((f"{self.kaldi}/wav.scp", self.mixtures), _MIXTURES_URL),
            *(Need((f"{self.kaldi}/{table}", self.speech), _SPEECH_URL) for table in ("segments", "utt2spk")),
        )

    def rows(self, root: Path) -> Iterator[Row]:
        """Yield a row a mixture. A path of wav.scp that is not absolute starts from the corpus's folder."""
        if (root / self.kaldi / "wav.scp").is_file():
            for name, path in read_kaldi_map(root / self.kaldi / "wav.scp").items():
                yield {"id": name, "path": str(root / path)}
        else:
            yield from _audio(root / self.mixtures)

    def segments(self, root: Path, rows: Sequence[Row]) -> Iterator[Row]:
        """Yield who speaks when: `id` of the mixture, `start` and `end` in seconds, `speaker`."""
        kaldi = root / self.kaldi
        if (kaldi / "segments").is_file() and (kaldi / "utt2spk").is_file():
            return _kaldi_segments(kaldi)
        return _source_segments(root / self.speech, rows)


_SD_PARTS = {
    "train": _SdPart("train", "wav16k/max/train-100/mix_both", "train_clean_100.rttm"),
    "valid": _SdPart("dev", "wav16k/max/dev/mix_both", "dev_clean.rttm"),
    "test": _SdPart("test", "wav16k/max/test/mix_both", "test_clean.rttm"),
}


def _kaldi_segments(folder: Path) -> Iterator[Row]:
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


def _source_segments(rttm: Path, rows: Sequence[Row]) -> Iterator[Row]:
    """Both sources of a mixture begin with it, and its name is `speaker-chapter-number` of each, joined by `_`.

    Of Libri2Mix that is what `prepare_diarization.py` says, and one stretch more: in one mixture of `train` two
    speakers have the same times, so its Kaldi folder has one name for both.
    """
    speech: dict[str, list[Row]] = defaultdict(list)
    for line in rttm_lines(rttm):
        speech[f"{line.cells['speaker']}-{line.cells['id']}"].append(dict(line.cells))
    for row in rows:
        for source in row["id"].split("_"):
            if source not in speech:
                raise UserError(f"{row['path']}: {rttm} does not say when {source} is speech; make or get both again")
            yield from ({**stretch, "id": row["id"]} for stretch in speech[source])


def _audio(folder: Path) -> list[Row]:
    paths = [folder / found.path for found in walk_audio(folder)]
    return sorted(({"id": path.stem, "path": str(path)} for path in paths), key=lambda row: row["id"])


def _sd_rows(place: Place) -> Parts:
    return {name: list(part.rows(place.root)) for name, part in _SD_PARTS.items()}


def _sd_segments(place: Place, parts: Parts) -> Parts:
    return {name: list(part.segments(place.root, parts[name])) for name, part in _SD_PARTS.items()}


SD = CorpusTask(
    "Libri2Mix",
    ("Libri2Mix", "libri2mix"),
    tuple(need for part in _SD_PARTS.values() for need in part.needs),
    _sd_rows,
    beside=_sd_segments,
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
    return [{**row, **_sources(folder, row)} for row in _audio(folder / _MIXTURES)]


def _sources(folder: Path, row: Row) -> Row:
    found = Path(row["path"]).relative_to(folder / _MIXTURES)
    return {f"source{number}": str(folder / name / found) for number, name in enumerate(_SOURCES, start=1)}


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
