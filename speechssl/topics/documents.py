"""From the words of an utterance to its document: how often each word of a vocabulary comes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from gensim.corpora import Dictionary
from gensim.models import TfidfModel

from speechssl.errors import UserError
from speechssl.progress import progress
from speechssl.topics.settings import TopicSettings
from speechssl.topics.words import Units, WordModel, fit_words

Document = list[tuple[int, float]]
"""Number and weight of each different word of an utterance."""


class Documents:
    """Turns the units of one utterance into its document."""

    def __init__(self, words: WordModel, dictionary: Dictionary, tfidf: bool) -> None:
        self.words = words
        self.dictionary = dictionary
        self.tfidf = TfidfModel(dictionary=dictionary, normalize=False) if tfidf else None

    def __call__(self, units: Units) -> Document:
        """Return the document of frame labels `(frames,)`; empty where no word of it is in the vocabulary."""
        counts = self.dictionary.doc2bow(self.words(units))
        return counts if self.tfidf is None else self.tfidf[counts]

    @property
    def vocabulary(self) -> list[str]:
        """The words by their numbers."""
        return [self.dictionary[number] for number in range(len(self.dictionary))]

    @property
    def document_frequency(self) -> npt.NDArray[np.int64]:
        """`(words,)` utterances of the fit that have each word."""
        return np.array([self.dictionary.dfs[number] for number in range(len(self.dictionary))], dtype=np.int64)


def fit_documents(utterances: Sequence[Units], clusters: int, frame_rate: float, settings: TopicSettings) -> Documents:
    """Fit words, vocabulary and, where asked for, tf-idf.

    Args:
        utterances: `(frames,)` frame labels of each utterance to fit on.
        clusters: number of different units.
        frame_rate: units a second.
        settings: `words`, `no_below`, `no_above`, `vocabulary` and `tfidf` are used.

    Raises:
        UserError: no word is left in the vocabulary.
    """
    words = fit_words(settings.words, utterances, clusters, frame_rate)
    dictionary = Dictionary(words(units) for units in progress(utterances, "collecting words", "utterance"))
    dictionary.filter_extremes(settings.no_below, settings.no_above, settings.vocabulary)
    if not len(dictionary):
        raise UserError(
            f"no word is in at least {settings.no_below} and at most {settings.no_above:.0%} of the {len(utterances)} "
            "utterances to fit on; lower no_below, raise no_above, or take other words"
        )
    return Documents(words, dictionary, settings.tfidf)


def make_dictionary(vocabulary: list[str], document_frequency: npt.NDArray[np.int64], utterances: int) -> Dictionary:
    """Build again the dictionary that a fit gave; gensim itself can only unpickle one."""
    dictionary = Dictionary()
    dictionary.token2id = {word: number for number, word in enumerate(vocabulary)}
    dictionary.dfs = dict(enumerate(document_frequency.tolist()))
    dictionary.num_docs = utterances
    return dictionary
