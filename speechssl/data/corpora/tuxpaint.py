"""Tux Paint's spoken stamp descriptions from Debian: 3 h in a dozen languages, with text (GPL-2)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_folder
from speechssl.data.corpora.debian import fetch_packages
from speechssl.data.walk import walk_audio

PACKAGE = "tuxpaint-stamps-default"

_SPOKEN = re.compile(r"(?P<stamp>.+)_desc(_(?P<language>[a-z]{2,3}(_[A-Z]{2})?))?(\.\w+)+")
"""`X_desc_fr.ogg` says what stamp X is in French, `X_desc.ogg` in English; `X.ogg` is its sound effect."""


def tuxpaint(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `language`, `prompt` (the stamp), `theme` (its top folder) and `text`.

    `audio_dir` may name an unpacked `stamps` folder; else Debian's package is fetched. Sound effects are listed as
    rejected. Speakers are not known.
    """
    if settings.audio_dir:
        root = require_folder(settings, "Tux Paint's folder of stamps, e.g. /usr/share/tuxpaint/stamps")
    else:
        root = fetch_packages([PACKAGE], settings.downloads) / PACKAGE / "usr/share/tuxpaint/stamps"
    return Corpus(root, ("language", "prompt", "theme", "text"), lambda: _entries(root))


def _entries(root: Path) -> Iterator[Entry]:
    for path, rejected in walk_audio(root):
        folder, _, name = path.rpartition("/")
        spoken = _SPOKEN.fullmatch(name)
        if spoken is None:
            yield Entry(path, rejected=rejected or "a sound effect, not speech")
            continue
        language = spoken["language"] or "en"
        stamp = f"{folder}/{spoken['stamp']}" if folder else spoken["stamp"]
        labels = {
            "language": language,
            "prompt": stamp,
            "theme": path.split("/")[0],
            "text": _texts(root / f"{stamp}.txt").get(language, ""),
        }
        yield Entry(path, labels, rejected=rejected)


@functools.lru_cache(maxsize=1)
def _texts(path: Path) -> dict[str, str]:
    """Return the descriptions of a stamp by language: the first line is English, then `fr.utf8=...`."""
    if not path.is_file():
        return {}
    first, *others = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    texts = {"en": first.strip()}
    for line in others:
        language, separator, text = line.partition(".utf8=")
        if separator:
            texts[language] = text.strip()
    return texts
