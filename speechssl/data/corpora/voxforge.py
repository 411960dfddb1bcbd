"""VoxForge (voxforge.org): short sentences read by volunteers, here in the six languages of LAPE (GPL)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_folder
from speechssl.data.walk import walk_audio
from speechssl.errors import UserError

LANGUAGES = ("de", "en", "es", "fr", "it", "ru")

_FOLDERS = {**{language: language for language in LANGUAGES}, "SpeechCorpus": "en"}
"""VoxForge's repository keeps English in a folder `SpeechCorpus`, and the other languages under their codes."""

_SUBMISSION = re.compile(r"(?P<user>.+)-\d{8}-\w+")
"""One evening's recordings: user, date, three letters, e.g. `ductapeguy-20080423-nai`."""


def voxforge(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `language`, `speaker` and `submission`; no splits.

    Each archive is a submission, with recordings in its folder `wav` or `flac`. It may lie at any depth below the
    folder of its language. Users who are anonymous are taken for another speaker in every submission. A recording
    outside the folder of a submission has no speaker.
    """
    hint = (
        f"a folder with folders {', '.join(LANGUAGES)}, and in each the unpacked archives of that language "
        "(16kHz_16bit) of http://www.repository.voxforge1.org/downloads"
    )
    root = require_folder(settings, hint)
    if not any((root / folder).is_dir() for folder in _FOLDERS):
        raise UserError(f"{root} has no folder of a language: corpus.audio_dir of corpus=voxforge must be {hint}")
    return Corpus(root, ("language", "speaker", "submission"), lambda: _entries(root))


def _entries(root: Path) -> Iterator[Entry]:
    for path, rejected in walk_audio(root):
        top, *folders = path.split("/")[:-1] or [""]
        if top not in _FOLDERS:
            yield Entry(path, rejected=rejected or f"not below a folder of a language ({', '.join(LANGUAGES)})")
            continue
        submission = next(filter(None, map(_SUBMISSION.fullmatch, reversed(folders))), None)
        labels = {"language": _FOLDERS[top]}
        if submission:
            anonymous = submission["user"].lower().startswith("anonym")
            labels["submission"] = submission[0]
            labels["speaker"] = submission[0] if anonymous else submission["user"]
        yield Entry(path, labels, rejected=rejected)
