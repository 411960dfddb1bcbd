"""Languages of Asterisk's telephone prompts: five voices to train on, three others to test on (Debian, 8 kHz)."""

from __future__ import annotations

from itertools import chain

from speechssl.data.corpora.asterisk import asterisk
from speechssl.data.corpora.asterisk_voices import asterisk_voices
from speechssl.data.corpora.corpus import Corpus, CorpusSettings


def asterisk_languages(settings: CorpusSettings) -> Corpus:
    """Return the corpora `asterisk` and `asterisk_voices` as one: the latter's voices are in split test.

    Debian's packages are fetched; there is no `audio_dir`. Test voices speak three of the five languages.
    """
    # The second one refuses an audio_dir before anything is fetched for the first.
    tested = asterisk_voices(settings)
    trained = asterisk(settings)
    return Corpus(trained.root, trained.labels, lambda: chain(trained.entries(), tested.entries()))
