"""Audio SNIPS for SF: sixteen synthetic voices, with the slot of every word."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechssl.data.corpora.kaldi import read_kaldi_map
from speechssl.data.walk import walk_audio
from speechssl.errors import UserError
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row
from speechssl.s3prl_patches import guarded_s3prl

_URL = "https://github.com/s3prl/s3prl/blob/main/s3prl/downstream/docs/superb.md (SF, Audio SNIPS)"
_LINES = Need(("all.iob.snips.txt",), _URL)
_VOICES = {
    "train": ("Ivy", "Joanna", "Joey", "Justin", "Kendra", "Kimberly", "Matthew", "Salli"),
    "valid": ("Aditi", "Amy", "Geraint", "Nicole"),
    "test": ("Brian", "Emma", "Raveena", "Russell"),
}
_MARKS = "?!.,;-\N{EN DASH}…"
"""A word that is a piece of this is left out, with its slot."""
_WRITTEN = {"楽園追放": "EXPELLED", "官方杂志": "", "\N{EN DASH}": "-", "&": " AND "}
"""As in s3prl."""


def _rows(place: Place) -> Parts:
    """Return the parts of s3prl's `audio_snips_for_slot_filling`.

    Rows have `transcription`, `iob` (a slot a word), `intent` and `speaker`. Voices of another part are left out.
    """
    lines = read_kaldi_map(_LINES.require(place.root))
    return {part: _part(place.root / part, voices, lines) for part, voices in _VOICES.items()}


def _part(folder: Path, voices: tuple[str, ...], lines: dict[str, str]) -> Sequence[Row]:
    rows = []
    for found in walk_audio(folder):
        path = folder / found.path
        voice = path.stem.split("-")[0]
        if voice in voices and path.stem in lines:
            rows.append({"id": path.stem, "path": str(path), "speaker": voice, **_labels(path.stem, lines[path.stem])})
    return rows


def _labels(name: str, line: str) -> Row:
    """Read `BOS word ... EOS<tab>O slot ... intent`: the first slot is that of `BOS`, the intent stands at `EOS`."""
    text, _, slots = line.partition("\t")
    words = _clean(" ".join(text.split(" ")[1:-1])).split(" ")
    iob = slots.strip().split(" ")
    if len(words) != len(iob[1:-1]):
        raise UserError(
            f"{_LINES.names[0]}: {name} has {len(words)} words and {len(iob[1:-1])} slots; get the file again"
        )
    pairs = [(word, slot) for word, slot in zip(words, iob[1:-1], strict=True) if word not in _MARKS]
    return {
        "transcription": " ".join(word for word, _ in pairs),
        "iob": " ".join(slot for _, slot in pairs),
        "intent": iob[-1],
    }


def _clean(text: str) -> str:
    """Write words in s3prl's characters."""
    for mark, written in _WRITTEN.items():
        text = text.replace(mark, written)
    return re.sub(" +", " ", text.translate(_plain_letters())).strip(" ")


@functools.cache
def _plain_letters() -> Mapping[int, int]:
    with guarded_s3prl():
        from s3prl.problem.asr.superb_sf import translator
    letters: Mapping[int, int] = translator
    return letters


SF = CorpusTask(
    "Audio SNIPS",
    ("audio_snips", "SNIPS", "snips"),
    (_LINES, *(Need((part,), _URL) for part in _VOICES)),
    _rows,
    metadata=("speaker", "intent"),
)
