"""LibriSpeech for ASR and PR: `train-clean-100`, `dev-clean` and `test-clean`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from speechssl.data.corpora import CorpusSettings, open_corpus
from speechssl.errors import UserError
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row
from speechssl.files import require_file
from speechssl.s3prl_patches import guarded_s3prl

_PARTS = {"train": "train-clean-100", "valid": "dev-clean", "test": "test-clean"}
_METADATA = ("speaker", "gender")
_LEXICONS = (
    "librispeech-lexicon-200k-g2p.txt",
    "librispeech-lexicon-allothers-g2p.txt",
    "librispeech-lexicon.txt",
)
"""The first two are s3prl's and know all words of these parts; the last one is the corpus's own, of 200 000 words."""
_LEXICON_URL = "https://huggingface.co/datasets/s3prl/g2p (both files) or https://www.openslr.org/11"


def _asr_rows(place: Place) -> Parts:
    """Return rows with `transcription`, `speaker` and `gender`."""
    return {part: list(_rows(place.root, folder)) for part, folder in _PARTS.items()}


def _pr_rows(place: Place) -> Parts:
    """Return rows with `phones` as well: of each word the first pronunciation of the lexicon, as in s3prl.

    Raises:
        UserError: words that the lexicon does not have.
    """
    parts = _asr_rows(place)
    files = [Path(name) for name in place.lexicon] or _own_lexicons(place.root)
    pronunciations = _read_lexicon(files)
    _require_known(parts, pronunciations, files)
    return {part: [_with_phones(row, pronunciations) for row in rows] for part, rows in parts.items()}


def _rows(root: Path, folder: str) -> Iterator[Row]:
    settings = CorpusSettings(name="librispeech", audio_dir=str(root), parts=[folder])
    for entry in open_corpus(settings).entries():
        known = {name: entry.labels[name] for name in _METADATA}
        path = root / entry.path
        yield {"id": path.stem, "path": str(path), "transcription": entry.labels["text"], **known}


def _own_lexicons(root: Path) -> list[Path]:
    return [root / name for name in _LEXICONS if (root / name).is_file()]


def _read_lexicon(files: Sequence[Path]) -> Mapping[str, list[str]]:
    with guarded_s3prl():
        from s3prl.dataio.encoder.g2p import G2P
    names = [str(require_file(file)) for file in files]
    try:
        pronunciations: Mapping[str, list[str]] = G2P(names).word2phone
    except ValueError as error:
        raise UserError(f"lexicon={', '.join(names)}: a line is not `WORD PHONE PHONE ...` ({error})") from error
    return pronunciations


def _require_known(parts: Parts, pronunciations: Mapping[str, list[str]], files: Sequence[Path]) -> None:
    unknown: dict[str, str] = {}
    for row in (row for rows in parts.values() for row in rows):
        for word in _words(row):
            if not pronunciations.get(word):
                unknown.setdefault(word, row["id"])
    if unknown:
        first = ", ".join(f"{word} (in {name})" for word, name in list(unknown.items())[:3])
        raise UserError(
            f"{len(unknown)} words have no pronunciation in {', '.join(map(str, files))}, the first are {first}; "
            f"give a lexicon that has them as lexicon=[FILE, FILE], e.g. that of {_LEXICON_URL}"
        )


def _with_phones(row: Row, pronunciations: Mapping[str, list[str]]) -> Row:
    return {**row, "phones": " ".join(phone for word in _words(row) for phone in pronunciations[word])}


def _words(row: Row) -> list[str]:
    return row["transcription"].upper().split()


_AUDIO = tuple(Need((name,), f"https://www.openslr.org/12 ({name}.tar.gz)") for name in _PARTS.values())
_TRANSCRIPTS = tuple(f"{name}/*/*/*.trans.txt" for name in _PARTS.values())
_SPEAKERS = Need(("SPEAKERS.TXT",), "https://www.openslr.org/12 (in every archive)")
_FOLDERS = ("LibriSpeech", "librispeech")

ASR = CorpusTask("LibriSpeech", _FOLDERS, (*_AUDIO, _SPEAKERS), _asr_rows, metadata=_METADATA, labels=_TRANSCRIPTS)
PR = CorpusTask(
    "LibriSpeech with a lexicon",
    _FOLDERS,
    (*_AUDIO, _SPEAKERS, Need(_LEXICONS, f"{_LEXICON_URL}, or give lexicon=FILE", lexicon=True)),
    _pr_rows,
    metadata=_METADATA,
    optional=_LEXICONS,
    labels=_TRANSCRIPTS,
)
