"""Three more voices of Asterisk's telephone prompts from Debian, to test on: Italian, French and Spanish, at 8 kHz."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry
from speechssl.data.corpora.debian import fetch_packages
from speechssl.data.walk import walk_audio
from speechssl.errors import UserError

VOICES = {
    "asterisk-prompt-it-menardi-wav": ("it_IT_f_Menardi", "it"),
    "asterisk-prompt-fr-armelle": ("fr", "fr"),
    "asterisk-prompt-es-co": ("es", "es"),
}
"""Package: its folder of recordings, and their language. The last two hold raw GSM 6.10."""

_SOUNDS = "usr/share/asterisk/sounds"
_NOT_SPEECH = ("beep", "beeperr", "ascending-2tone", "descending-2tone", "silence/")


def asterisk_voices(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `language`, `prompt` (as in the corpus `asterisk`) and `speaker`; all in split test.

    Debian's packages are fetched; there is no `audio_dir`, since these voices share folders with others once installed.
    """
    if settings.audio_dir:
        raise UserError("corpus=asterisk_voices has no corpus.audio_dir: leave it out, the voices come from Debian")
    root = fetch_packages(tuple(VOICES), settings.downloads)
    return Corpus(root, ("language", "prompt", "speaker"), lambda: _entries(root))


def _entries(root: Path) -> Iterator[Entry]:
    for package, (name, language) in VOICES.items():
        voice = Path(package) / _SOUNDS / name
        speaker = package.removeprefix("asterisk-prompt-").removesuffix("-wav")
        for found in walk_audio(root / voice):
            prompt = found.path.rpartition(".")[0]
            rejected = found.rejected or ("a tone or silence, not speech" if prompt.startswith(_NOT_SPEECH) else "")
            labels = {"language": language, "prompt": prompt, "speaker": speaker}
            yield Entry((voice / found.path).as_posix(), labels, "test", rejected)
