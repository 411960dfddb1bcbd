"""How good topics are: by themselves, and against what is known of the utterances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gensim.models import CoherenceModel

from speechssl.data.columns import Columns, agreement
from speechssl.data.labels import FrameLabels
from speechssl.progress import progress
from speechssl.topics.documents import Document
from speechssl.topics.model import CHUNK, TopicModel
from speechssl.topics.words import Units

TOP_WORDS = 20
"""Words a topic that are listed and that coherence is computed from."""
SAMPLE = 5000
"""At most about so many documents of a split, evenly spread over it, are kept for coherence."""
BOUND_DOCUMENTS = 500
"""At most so many of them are used for the bound: gensim takes milliseconds for each."""


@dataclass(frozen=True)
class LabelledSplit:
    """Topics of one split or of several, with what is known of the utterances."""

    paths: Sequence[str]
    """Manifest's path of each utterance."""
    posteriors: npt.NDArray[np.float32]
    """`(utterances, topics)`."""
    empty: list[int]
    """Utterances without a word of the vocabulary."""
    sample: list[Document]
    """Documents of some of the others."""
    columns: Columns
    """Metadata."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """`(utterances,)` the most probable topic."""
        return self.posteriors.argmax(1)


def infer_topics(
    model: TopicModel, labels: FrameLabels | Sequence[Units], description: str
) -> tuple[npt.NDArray[np.float32], list[int], list[Document]]:
    """Infer topics, chunk by chunk: of a large corpus, only posteriors and a sample of documents are held.

    Args:
        model: the topic model.
        labels: `(frames,)` frame labels of each utterance.
        description: what the progress bar says.

    Returns:
        `(utterances, topics)` posteriors, the utterances whose document is empty, and a sample of the other documents.
    """
    posteriors = np.empty((len(labels), model.topics), dtype=np.float32)
    empty: list[int] = []
    sample: list[Document] = []
    step = -(-len(labels) // SAMPLE)
    bar = progress(range(len(labels)), description, "utterance")
    for start in range(0, len(labels), CHUNK):
        rows = range(start, min(start + CHUNK, len(labels)))
        documents = [model.documents(labels[row]) for row in rows]
        posteriors[start : rows.stop] = model.posteriors(documents)
        empty += [row for row, document in zip(rows, documents, strict=True) if not document]
        sample += [document for row, document in zip(rows, documents, strict=True) if document and row % step == 0]
        bar.update(len(rows))
    bar.close()
    return posteriors, empty, sample


def merge_splits(splits: Sequence[LabelledSplit]) -> LabelledSplit:
    """Return several splits, labelled by one model, as one."""
    starts = np.cumsum([0, *(len(split.paths) for split in splits)])
    names = dict.fromkeys(name for split in splits for name in split.columns)
    return LabelledSplit(
        paths=[path for split in splits for path in split.paths],
        posteriors=np.concatenate([split.posteriors for split in splits]),
        empty=[row + int(start) for split, start in zip(splits, starts, strict=False) for row in split.empty],
        sample=[document for split in splits for document in split.sample],
        columns={name: [cell for split in splits for cell in split.columns[name]] for name in names},
    )


def model_quality(model: TopicModel, sample: Sequence[Document]) -> dict[str, Any]:
    """Return coherence and top words of the topics.

    Args:
        model: the topic model.
        sample: documents, none of them empty, in which words are counted.

    Returns:
        `topic_coherence_umass` (Mimno et al. 2011: 0 at best, the more negative the less often the top words of a
        topic share an utterance) and its mean `coherence_umass`; `top_words` of each topic with their probabilities.
    """
    listed = min(TOP_WORDS, len(model.documents.vocabulary))
    numbers = [[number for number, _ in model.lda.get_topic_terms(topic, listed)] for topic in range(model.topics)]
    dictionary = model.documents.dictionary
    counted = CoherenceModel(topics=numbers, corpus=sample, dictionary=dictionary, coherence="u_mass", topn=listed)
    coherence = [float(value) for value in counted.get_coherence_per_topic()] if sample else []
    top_words = [model.lda.show_topic(topic, listed) for topic in range(model.topics)]
    return {
        "coherence_umass": float(np.mean(coherence)) if coherence else None,
        "topic_coherence_umass": coherence,
        "top_words": [[[word, float(probability)] for word, probability in words] for words in top_words],
    }


def split_quality(model: TopicModel, split: LabelledSplit) -> dict[str, Any]:
    """Return sizes, sharpness, bound, agreement with every metadata column, and the empty documents of a split."""
    return {
        "utterances": len(split.paths),
        "topic_sizes": np.bincount(split.labels, minlength=model.topics).tolist(),
        "mean_largest_posterior": float(split.posteriors.max(1).mean()),
        "perplexity_bound": perplexity_bound(model, split.sample),
        "columns": column_quality(split),
        "empty_documents": len(split.empty),
        "empty_document_paths": [split.paths[row] for row in split.empty],
    }


def perplexity_bound(model: TopicModel, documents: Sequence[Document]) -> float | None:
    """Return an upper bound of the perplexity of a word: `exp(-L / words)`, `L` the bound of the documents' likelihood.

    gensim's own `log_perplexity` adds the divergence of the topics from their prior, which on a small split outweighs
    the documents, and takes a bound in nats for one in bits. None where there is no document.
    """
    if not documents:
        return None
    measured = documents[:: -(-len(documents) // BOUND_DOCUMENTS)]
    words = sum(weight for document in measured for _, weight in document)
    # Of no documents, the bound is that divergence alone.
    return float(np.exp((model.lda.bound([]) - model.lda.bound(measured)) / words))


def column_quality(split: LabelledSplit) -> dict[str, dict[str, float]]:
    """Return the agreement of topics with each metadata column."""
    return {name: agreement(split.labels, cells) for name, cells in split.columns.items()}
