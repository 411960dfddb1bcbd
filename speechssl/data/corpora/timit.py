"""TIMIT (LDC93S1): read English with hand-made phone times; the official layout, or NLTK's sample of 160 sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.audio import SAMPLE_RATE
from speechssl.data.alignments import Segment
from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_folder
from speechssl.data.walk import walk_audio
from speechssl.errors import UserError

MERGED_PHONES = {
    "ao": "aa", "ax": "ah", "ax-h": "ah", "axr": "er", "hv": "hh", "ix": "ih", "el": "l", "em": "m", "en": "n",
    "nx": "n", "eng": "ng", "zh": "sh", "ux": "uw",
    "pcl": "sil", "tcl": "sil", "kcl": "sil", "bcl": "sil", "dcl": "sil", "gcl": "sil",
    "h#": "sil", "pau": "sil", "epi": "sil",
}  # fmt: skip
"""61 phones to 39 (Lee and Hon 1989): closures and pauses are `sil`; the glottal stop `q` is left out."""


def timit(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `speaker`, `gender`, `dialect` and `text`, phones folded to 39.

    Files are `<dialect>/<speaker>/<sentence>` below `train` and `test` (splits of the same name), or
    `<dialect>-<speaker>/<sentence>` (one split), with `.phn` and `.txt` beside the audio; upper or lower case.
    """
    root = require_folder(settings, "the folder of TIMIT, with .phn files beside the recordings")
    return Corpus(root, ("speaker", "gender", "dialect", "text"), lambda: _entries(root))


def _entries(root: Path) -> Iterator[Entry]:
    for found in walk_audio(root):
        audio = root / found.path
        phones, text = _beside(audio, ".phn"), _beside(audio, ".txt")
        parts = [part.lower() for part in Path(found.path).parts[:-1]]
        split = next((part for part in parts if part in ("train", "test")), "")
        dialect, _, speaker = "-".join(parts[-2:]).removeprefix(f"{split}-").rpartition("-")
        labels = {"speaker": speaker, "gender": speaker[:1], "dialect": dialect, "text": _text(text)}
        rejected = found.rejected or ("" if phones else "no .phn file beside it")
        yield Entry(found.path, labels, split, rejected, _phones(phones) if phones else ())


def _beside(audio: Path, suffix: str) -> Path | None:
    """Return the file of the same name with another ending, in lower or upper case."""
    candidates = (audio.with_suffix(suffix), audio.with_suffix(suffix.upper()))
    return next((path for path in candidates if path.is_file()), None)


def _text(path: Path | None) -> str:
    """Return the sentence of a `.txt` file: first sample, last sample, words."""
    if path is None:
        return ""
    words = path.read_text(encoding="ascii", errors="replace").split()
    return " ".join(words[2:] if words[:2] and all(word.isdigit() for word in words[:2]) else words)


def _phones(path: Path) -> tuple[Segment, ...]:
    """Read a `.phn` file: first sample, last sample, phone; at 16 kHz."""
    segments = []
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), start=1):
        try:
            first, last, phone = line.split()
            segment = Segment(int(first) / SAMPLE_RATE, int(last) / SAMPLE_RATE, MERGED_PHONES.get(phone, phone))
        except ValueError as error:
            raise UserError(f"{path} line {number} is not `first last phone`") from error
        if phone != "q":
            segments.append(segment)
    return tuple(segments)
