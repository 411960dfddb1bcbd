from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from gensim.models import LdaModel

from speechssl.data.columns import agreement
from speechssl.topics.documents import Documents, make_dictionary
from speechssl.topics.model import Provenance, TopicModel
from speechssl.topics.plot import topic_table
from speechssl.topics.quality import (
    LabelledSplit,
    infer_topics,
    merge_splits,
    model_quality,
    perplexity_bound,
)
from speechssl.topics.settings import WordSettings
from speechssl.topics.words import WordModel

TEXTS = [["0", "1"], ["0", "1"], ["0", "2"], ["1", "2", "3"], ["3"]]


@pytest.fixture
def model() -> TopicModel:
    """Two topics over the words 0 to 3 whose probabilities are set by hand."""
    dictionary = make_dictionary(["0", "1", "2", "3"], np.array([3, 3, 2, 2]), len(TEXTS))
    lda = LdaModel(id2word=dictionary, num_topics=2, eta=0.01, dtype=np.float32)
    lda.state.sstats[...] = [[40, 30, 20, 10], [10, 20, 30, 40]]
    lda.sync_state()
    return TopicModel(
        Documents(WordModel(WordSettings("unit"), 50.0), dictionary, False), lda, Provenance(4, 50.0, "", "")
    )


def test_coherence_by_hand(model: TopicModel) -> None:
    sample = [model.documents(np.array(text, dtype=int)) for text in TEXTS]
    found = model_quality(model, sample)
    assert [word for word, _ in found["top_words"][0]] == ["0", "1", "2", "3"]
    assert found["top_words"][1][0] == ["3", pytest.approx(0.4, abs=1e-3)]
    scores = []
    for likelier, other in combinations(["0", "1", "2", "3"], 2):
        both = sum(likelier in text and other in text for text in TEXTS) / len(TEXTS)
        scores.append(np.log((both + 1e-12) / (sum(likelier in text for text in TEXTS) / len(TEXTS))))
    assert found["topic_coherence_umass"][0] == pytest.approx(np.mean(scores))


def test_perplexity_bound_is_just_above_the_perplexity(model: TopicModel) -> None:
    share = np.array([[40, 30, 20, 10], [10, 20, 30, 40]]) / 100
    model.lda.state.sstats[...] = 1e6 * share  # as good as certain of the topics
    model.lda.sync_state()
    documents = [[(0, 9), (1, 4), (2, 2)], [(3, 20), (2, 10), (0, 3)]]
    # Topic shares are drawn from a Dirichlet with both alphas 1/2: even in this angle, so a mean over it.
    angle = (np.arange(100_000) + 0.5) / 100_000 * np.pi / 2
    shares = np.stack([np.sin(angle) ** 2, np.cos(angle) ** 2], 1)
    likelihood = [np.prod([(shares @ share[:, word]) ** count for word, count in row], 0).mean() for row in documents]
    exact = np.exp(-np.log(likelihood).sum() / 48)
    found = perplexity_bound(model, documents)
    assert found is not None
    assert exact < found < 1.05 * exact


def test_agreement_leaves_out_what_is_not_known() -> None:
    found = agreement(np.array([0, 0, 1, 1, 2, 0]), ["a", "a", "b", "b", "b", ""])
    # Topics tell the value without error; the value leaves open which of two topics.
    entropy = -(0.4 * np.log(0.4) + 0.6 * np.log(0.6))
    of_topics = -(0.4 * np.log(0.4) + 0.4 * np.log(0.4) + 0.2 * np.log(0.2))
    assert found == {
        "utterances": 5,
        "values": 2,
        "nmi": pytest.approx(2 * entropy / (entropy + of_topics)),
        "homogeneity": pytest.approx(1),
    }
    assert agreement(np.array([0, 1]), ["a", "a"]) == {"utterances": 2, "values": 1}


def test_table_of_topics() -> None:
    values, counts = topic_table(np.array([0, 2, 2, 1]), ["b", "a", "a", ""], 3)
    assert values == ["a", "b"]
    assert counts.tolist() == [[0, 0, 2], [1, 0, 0]]


def test_chunks_change_nothing(model: TopicModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [np.array(text, dtype=int) for text in [*TEXTS, ["9"], *TEXTS]]
    whole = infer_topics(model, rows, "")
    monkeypatch.setattr("speechssl.topics.quality.CHUNK", 3)
    posteriors, empty, sample = infer_topics(model, rows, "")
    assert np.array_equal(posteriors, whole[0])
    assert (empty, len(sample)) == ([5], 10)


def test_merged_splits(model: TopicModel) -> None:
    one = LabelledSplit(["a", "b"], np.array([[1, 0], [0, 1]], dtype=np.float32), [1], [], {"theme": ["x", "y"]})
    other = LabelledSplit(["c"], np.array([[0, 1]], dtype=np.float32), [0], [], {"theme": ["z"]})
    merged = merge_splits([one, other])
    assert merged.paths == ["a", "b", "c"]
    assert (merged.empty, merged.labels.tolist(), merged.columns) == ([1, 2], [0, 1, 1], {"theme": ["x", "y", "z"]})
