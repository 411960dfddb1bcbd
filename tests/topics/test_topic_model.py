from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import LatentDirichletAllocation

from speechssl.errors import UserError
from speechssl.topics.documents import fit_documents
from speechssl.topics.model import Provenance, TopicModel, fit_lda, load_topic_model
from speechssl.topics.settings import TopicSettings, WordSettings

CLUSTERS = 12
KINDS = {
    "unit": WordSettings("unit"),
    "ngram": WordSettings("ngram"),
    "phrase": WordSettings("phrase", order=3, threshold=0.0),
    "subword": WordSettings("subword", subwords=40),
}


def fit(utterances: list[np.ndarray], **more: object) -> TopicModel:
    settings = TopicSettings(**{"topics": 3, "no_below": 2, "passes": 5, **more})  # type: ignore[arg-type]
    documents = fit_documents(utterances, CLUSTERS, 50.0, settings)
    lda = fit_lda([documents(units) for units in utterances], documents.dictionary, settings)
    return TopicModel(documents, lda, Provenance(CLUSTERS, 50.0, "kmeans", "units"))


def counts(model: TopicModel, utterances: list[np.ndarray]) -> np.ndarray:
    table = np.zeros((len(utterances), len(model.documents.vocabulary)))
    for row, units in zip(table, utterances, strict=True):
        for number, weight in model.documents(units):
            row[number] = weight
    return table


@pytest.fixture
def scikit(utterances: list[np.ndarray]) -> LatentDirichletAllocation:
    """Batch variational Bayes of scikit-learn, from the start that seed 0 gives, which is the one of gensim."""
    table = counts(fit(utterances), utterances)
    return LatentDirichletAllocation(
        3, learning_method="batch", max_iter=5, max_doc_update_iter=50, mean_change_tol=1e-3, random_state=0,
        topic_word_prior=1.0,
    ).fit(table)  # fmt: skip


def test_topics_are_those_of_scikit_learn(utterances: list[np.ndarray], scikit: LatentDirichletAllocation) -> None:
    model = fit(utterances)
    np.testing.assert_allclose(model.lda.state.get_lambda(), scikit.components_, rtol=1e-2, atol=1e-2)


def test_a_learned_prior_is_learned_in_every_pass() -> None:
    """Utterances of one clear topic each: the prior falls with every pass, as in gensim's own setting."""
    random = np.random.default_rng(0)
    utterances = [4 * (number % 3) + random.integers(0, 4, 60) for number in range(150)]
    words = {"words": WordSettings("unit"), "no_above": 1.0}
    few, many = (fit(utterances, alpha="auto", passes=passes, **words).lda.alpha.mean() for passes in (5, 20))
    assert many < few < 1 / 3
    assert many < 0.1


def test_posteriors_are_those_of_scikit_learn(utterances: list[np.ndarray], scikit: LatentDirichletAllocation) -> None:
    model = fit(utterances)
    posteriors = model.posteriors([model.documents(units) for units in utterances])
    np.testing.assert_allclose(posteriors.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(posteriors, scikit.transform(counts(model, utterances)), atol=2e-3)


def test_posterior_depends_on_its_own_utterance_only(utterances: list[np.ndarray]) -> None:
    model = fit(utterances)
    documents = [model.documents(units) for units in utterances]
    together = model.posteriors(documents)
    assert np.array_equal(model.posteriors(documents[::-1])[::-1], together)
    assert np.array_equal(np.concatenate([model.posteriors([document]) for document in documents]), together)


def test_document_without_words_gets_the_prior(utterances: list[np.ndarray]) -> None:
    model = fit(utterances, alpha="asymmetric")
    alpha = 1 / (np.arange(3) + np.sqrt(3))
    assert model.documents(np.array([4])) == []
    np.testing.assert_allclose(model.posteriors([[]])[0], alpha / alpha.sum(), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tfidf", [False, True])
def test_saved_model_gives_the_same_bits(utterances: list[np.ndarray], tmp_path: Path, kind: str, tfidf: bool) -> None:
    model = fit(utterances, words=KINDS[kind], no_above=1.0, tfidf=tfidf)
    model.save(tmp_path / "model.safetensors")
    again = load_topic_model(tmp_path / "model.safetensors")
    documents = [again.documents(units) for units in utterances]
    assert documents == [model.documents(units) for units in utterances]
    assert again.provenance == model.provenance
    assert np.array_equal(again.posteriors(documents), model.posteriors(documents))
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_weights_of_rare_words(utterances: list[np.ndarray]) -> None:
    plain = counts(fit(utterances, no_above=1.0), utterances)
    weighted = counts(fit(utterances, no_above=1.0, tfidf=True), utterances)
    frequency = (plain > 0).sum(0)
    np.testing.assert_allclose(weighted, plain * np.log2(len(utterances) / frequency), atol=1e-6)


def test_vocabulary_leaves_out_rare_and_common_words(utterances: list[np.ndarray]) -> None:
    everything = fit(utterances, no_below=1, no_above=1.0)
    frequency = dict(zip(everything.documents.vocabulary, everything.documents.document_frequency, strict=True))
    kept = fit(utterances, no_below=20, no_above=0.5).documents.vocabulary
    assert set(kept) == {word for word, number in frequency.items() if 20 <= number <= 30}
    most = fit(utterances, no_below=1, no_above=1.0, vocabulary=7).documents.document_frequency
    assert sorted(most) == sorted(frequency.values())[-7:]


def test_more_topics_than_utterances(utterances: list[np.ndarray]) -> None:
    with pytest.raises(UserError, match=r"5 topics need .* there are 4"):
        fit(utterances[:4], topics=5, no_above=1.0)


def test_no_word_left(utterances: list[np.ndarray]) -> None:
    with pytest.raises(UserError, match="lower no_below"):
        fit(utterances, no_below=61)


def test_file_that_is_no_topic_model(utterances: list[np.ndarray], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match="does not exist"):
        load_topic_model(path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(UserError, match="is not a topic model"):
        load_topic_model(path)
    save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(UserError, match="is not a topic model"):
        load_topic_model(path)
    fit(utterances).save(path)
    save_file(load_file(path), path, {"topics": json.dumps({"format": 99})})
    with pytest.raises(UserError, match="format 99"):
        load_topic_model(path)
