"""Asterisk's telephone prompts from Debian: five languages, one voice each, 2.2 h at 8 kHz (CC BY-SA 3.0)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_folder
from speechssl.data.corpora.debian import fetch_packages
from speechssl.data.walk import walk_audio
from speechssl.errors import UserError

PACKAGES = tuple(f"asterisk-core-sounds-{language}-wav" for language in ("en", "es", "fr", "it", "ru"))

_VOICE = re.compile(r"(?P<language>[a-z]{2,3})_[A-Z]{2}_[fm]_\w+")
"""Folders of voices are named language, country, sex and name, e.g. `fr_CA_f_June`."""


def asterisk(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `language`, `prompt` (shared by all voices that say it) and `speaker`.

    `audio_dir` may name a folder with voices in it, e.g. /usr/share/asterisk/sounds; else Debian's packages are
    fetched.
    """
    if settings.audio_dir:
        root = require_folder(settings, "a folder with voices, e.g. /usr/share/asterisk/sounds")
        tops = [root]
    else:
        root = fetch_packages(PACKAGES, settings.downloads)
        tops = [root / package for package in PACKAGES]
    voices = sorted(_voices(tops))
    if not voices:
        raise UserError(f"{root} has no folder of an Asterisk voice such as en_US_f_Allison")
    return Corpus(root, ("language", "prompt", "speaker"), lambda: _entries(root, voices))


def _voices(tops: list[Path]) -> Iterator[Path]:
    for top in tops:
        for folder in top.rglob("*_*_*_*"):
            if folder.is_dir() and not folder.is_symlink() and _VOICE.fullmatch(folder.name):
                yield folder


def _entries(root: Path, voices: list[Path]) -> Iterator[Entry]:
    for voice in voices:
        language = voice.name.split("_")[0]
        for found in walk_audio(voice):
            labels = {"language": language, "prompt": found.path.rpartition(".")[0], "speaker": voice.name}
            yield Entry((voice.relative_to(root) / found.path).as_posix(), labels, rejected=found.rejected)
