"""The topic model: latent Dirichlet allocation by gensim, kept in one file without pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gensim.corpora import Dictionary
from gensim.models import LdaModel
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from speechssl.errors import UserError
from speechssl.files import require_file, whole_file
from speechssl.progress import progress
from speechssl.topics.documents import Document, Documents, make_dictionary
from speechssl.topics.settings import TopicSettings, WordSettings
from speechssl.topics.words import WordModel

FORMAT = 1
CHUNK = 2000
"""Documents that gensim holds the topic probabilities of at once."""


@dataclass(frozen=True)
class Provenance:
    """Which units a topic model is for."""

    clusters: int
    """Number of different units."""
    frame_rate: float
    """Units a second."""
    kmeans_sha256: str
    """Checksum of the k-means that made them; empty where it is not known."""
    units_sha256: str
    """Checksum of the `.km` file that the model was fitted on."""


class TopicModel:
    """Gives the topic posterior of an utterance from its units."""

    def __init__(self, documents: Documents, lda: LdaModel, provenance: Provenance) -> None:
        self.documents = documents
        self.lda = lda
        self.provenance = provenance
        # gensim draws where inference starts from the model's random state, so a posterior would depend on what was
        # inferred before. Starting every utterance at the mean of that draw favours no topic and makes the posterior
        # a function of the utterance alone.
        lda.random_state = _EvenStart()

    @property
    def topics(self) -> int:
        """Number of topics."""
        return int(self.lda.num_topics)

    def posteriors(self, documents: Sequence[Document]) -> npt.NDArray[np.float32]:
        """Return `(documents, topics)` probabilities: the mean of the variational posterior of each document's topics.

        A row depends on its document only. An empty document gets the prior.
        """
        concentration, _ = self.lda.inference(documents)
        return (concentration / concentration.sum(1, keepdims=True)).astype(np.float32)

    def save(self, path: str | Path) -> None:
        """Write the model as one safetensors file, whole or not at all."""
        words = self.documents.words
        description = {
            "format": FORMAT,
            "words": dataclasses.asdict(words.settings),
            "phrases": words.phrases,
            "vocabulary": self.documents.vocabulary,
            "utterances": self.documents.dictionary.num_docs,
            "tfidf": self.documents.tfidf is not None,
            "iterations": self.lda.iterations,
            "provenance": dataclasses.asdict(self.provenance),
        }
        tensors = {
            "topic_word": self.lda.state.sstats,
            "alpha": self.lda.alpha,
            "eta": self.lda.eta,
            "document_frequency": self.documents.document_frequency,
            "subword_model": np.frombuffer(words.subword_model, dtype=np.uint8),
        }
        with whole_file(path) as temporary:
            save_file(tensors, temporary, {"topics": json.dumps(description, sort_keys=True)})


def fit_lda(documents: Sequence[Document], dictionary: Dictionary, settings: TopicSettings) -> LdaModel:
    """Fit latent Dirichlet allocation.

    Batch variational Bayes (Blei, Ng and Jordan 2003; Hoffman, Blei and Bach 2010, algorithm 1) by gensim's
    `LdaModel`, which gives the same bits for the same seed; `LdaMulticore` does not.

    Args:
        documents: of the utterances to fit on; empty ones have no part in the fit.
        dictionary: the vocabulary.
        settings: `topics`, `alpha`, `eta`, `passes`, `iterations` and `seed` are used.

    Raises:
        UserError: fewer utterances with words than topics.
    """
    filled = [document for document in documents if document]
    if len(filled) < settings.topics:
        raise UserError(
            f"{settings.topics} topics need at least as many utterances with words, and there are {len(filled)}; "
            "lower topics or no_below"
        )
    return LdaModel(
        _Passes(filled, settings.passes),
        id2word=dictionary,
        num_topics=settings.topics,
        alpha=settings.alpha,
        eta=settings.eta,
        passes=settings.passes,
        iterations=settings.iterations,
        random_state=settings.seed,
        chunksize=CHUNK,
        eval_every=None,
        dtype=np.float32,
        # Batch learning. gensim would still average each pass with those before, at a rate that falls with the number
        # of chunks; without decay the rate is 1, and every pass is one exact step whatever the size of the corpus.
        # Only the step of a prior that is learned can be too long: gensim leaves out one that ends below zero.
        update_every=0,
        decay=0.5 if settings.alpha == "auto" else 0.0,
    )


def load_topic_model(path: str | Path) -> TopicModel:
    """Read a model that :meth:`TopicModel.save` wrote; it gives the posteriors of the model that was saved.

    Raises:
        UserError: a missing file, or one that is no topic model of this format.
    """
    path = require_file(path, made_by="speechssl topics")
    try:
        with safe_open(path, "numpy") as file:
            description: dict[str, Any] = json.loads((file.metadata() or {})["topics"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
        if description["format"] != FORMAT:
            raise UserError(f"{path} has format {description['format']}, not {FORMAT}; fit the topics again")
        provenance = Provenance(**description["provenance"])
        subword_model = tensors["subword_model"].tobytes()
        settings = WordSettings(**description["words"])
        words = WordModel(settings, provenance.frame_rate, description["phrases"], subword_model)
        frequency = tensors["document_frequency"]
        dictionary = make_dictionary(description["vocabulary"], frequency, description["utterances"])
        documents = Documents(words, dictionary, description["tfidf"])
        lda = _make_lda(dictionary, tensors, description["iterations"])
        return TopicModel(documents, lda, provenance)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a topic model ({error}); fit the topics again") from error


def _make_lda(dictionary: Dictionary, tensors: dict[str, npt.NDArray[Any]], iterations: int) -> LdaModel:
    lda = LdaModel(
        id2word=dictionary,
        num_topics=len(tensors["topic_word"]),
        alpha=tensors["alpha"],
        eta=tensors["eta"],
        iterations=iterations,
        dtype=np.float32,
    )
    lda.state.sstats = tensors["topic_word"]
    lda.sync_state()
    return lda


class _EvenStart:
    """Stands where gensim's inference expects a random state; every draw is the mean of the distribution."""

    def gamma(self, shape: float, scale: float, size: tuple[int, ...]) -> npt.NDArray[np.float64]:
        return np.full(size, shape * scale)


class _Passes:
    """A corpus that shows how far gensim has gone through it, over all passes."""

    def __init__(self, documents: list[Document], passes: int) -> None:
        self._documents = documents
        self._bar = progress(range(passes * len(documents)), "fitting topics", "utterance")

    def __len__(self) -> int:
        return len(self._documents)

    def __iter__(self) -> Iterator[Document]:
        for document in self._documents:
            yield document
            self._bar.update()
