"""Corpora, one small file each.

A new corpus is one more file with a function that takes :class:`CorpusSettings` and returns a :class:`Corpus`, a line
in `CORPORA`, and `configs/corpus/<name>.yaml`.
"""

from collections.abc import Callable

from speechssl.data.corpora.asterisk import asterisk
from speechssl.data.corpora.asterisk_languages import asterisk_languages
from speechssl.data.corpora.asterisk_voices import asterisk_voices
from speechssl.data.corpora.birdsong import birdsong
from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry
from speechssl.data.corpora.esc50 import esc50
from speechssl.data.corpora.flite import flite
from speechssl.data.corpora.folder import folder
from speechssl.data.corpora.fsd50k import fsd50k
from speechssl.data.corpora.iemocap import iemocap
from speechssl.data.corpora.librispeech import librispeech
from speechssl.data.corpora.nsynth import nsynth
from speechssl.data.corpora.speech_commands import speech_commands
from speechssl.data.corpora.speechocean762 import speechocean762
from speechssl.data.corpora.timit import timit
from speechssl.data.corpora.tut_urban_2018 import tut_urban_2018
from speechssl.data.corpora.tuxpaint import tuxpaint
from speechssl.data.corpora.urbansound8k import urbansound8k
from speechssl.data.corpora.voxceleb1 import voxceleb1
from speechssl.data.corpora.voxforge import voxforge
from speechssl.errors import UserError, nearest

__all__ = ["CORPORA", "Corpus", "CorpusSettings", "Entry", "open_corpus"]

CORPORA: dict[str, Callable[[CorpusSettings], Corpus]] = {
    "asterisk": asterisk,
    "asterisk_languages": asterisk_languages,
    "asterisk_voices": asterisk_voices,
    "birdsong": birdsong,
    "esc50": esc50,
    "flite": flite,
    "folder": folder,
    "fsd50k": fsd50k,
    "iemocap": iemocap,
    "librispeech": librispeech,
    "nsynth": nsynth,
    "speech_commands": speech_commands,
    "speechocean762": speechocean762,
    "timit": timit,
    "tut_urban_2018": tut_urban_2018,
    "tuxpaint": tuxpaint,
    "urbansound8k": urbansound8k,
    "voxceleb1": voxceleb1,
    "voxforge": voxforge,
}
"""Every corpus by name."""


_FETCHED = ("asterisk", "asterisk_languages", "librispeech", "tuxpaint")
"""What is downloaded where there is no `audio_dir`."""
_MADE = ("asterisk_voices", "flite", "speech_commands")
"""What is always downloaded, or has audio that is made here."""


def open_corpus(settings: CorpusSettings) -> Corpus:
    """Return a corpus by name, downloaded where need be."""
    if settings.name not in CORPORA:
        raise UserError(f"no corpus named '{settings.name}'{nearest(settings.name, CORPORA)}")
    if settings.metadata and settings.name != "folder":
        raise UserError(f"corpus.metadata is for corpus=folder; corpus={settings.name} has labels of its own")
    if settings.parts and settings.name != "librispeech":
        raise UserError(f"corpus.parts is for corpus=librispeech; corpus={settings.name} has no parts")
    if settings.downloads != CorpusSettings.downloads and not _reads_downloads(settings):
        beside = " with corpus.audio_dir" if settings.name in _FETCHED else ""
        raise UserError(f"corpus={settings.name}{beside} does not read corpus.downloads: leave it out")
    return CORPORA[settings.name](settings)


def _reads_downloads(settings: CorpusSettings) -> bool:
    return settings.name in _MADE or (settings.name in _FETCHED and not settings.audio_dir)
