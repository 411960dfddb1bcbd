from __future__ import annotations

import numpy as np
import pytest
from gensim.models.phrases import Phrases

from speechssl.errors import UserError
from speechssl.topics.settings import WordSettings
from speechssl.topics.words import deduplicate, fit_words

UNITS = np.array([3, 3, 3, 5, 5, 3, 11])


def test_runs_become_one_unit() -> None:
    assert deduplicate(UNITS).tolist() == [3, 5, 3, 11]
    assert deduplicate(np.array([0, 0, 1])).tolist() == [0, 1]
    assert deduplicate(np.array([], dtype=int)).tolist() == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (WordSettings("unit"), ["3", "5", "3", "11"]),
        (WordSettings("unit", deduplicate=False), ["3", "3", "3", "5", "5", "3", "11"]),
        (WordSettings("ngram"), ["3_5", "5_3", "3_11"]),
        (WordSettings("ngram", order=3), ["3_5_3", "5_3_11"]),
        (WordSettings("ngram", order=5), []),
    ],
)
def test_units_and_ngrams(settings: WordSettings, expected: list[str]) -> None:
    assert fit_words(settings, [UNITS], 12, 50.0)(UNITS) == expected


@pytest.mark.parametrize(("frame_rate", "expected"), [(100.0, ["3", "5", "11"]), (25.0, ["3", "5", "3", "11"])])
def test_units_that_come_more_often_are_thinned_to_50_a_second(frame_rate: float, expected: list[str]) -> None:
    assert fit_words(WordSettings("unit"), [UNITS], 12, frame_rate)(UNITS) == expected


def test_phrases_are_those_of_gensim() -> None:
    random = np.random.default_rng(0)
    # 1 is always followed by 2; the others follow one another by chance.
    rows = [
        np.concatenate([[1, 2] if random.random() < 0.3 else [random.integers(3, 9)] for _ in range(60)])
        for _ in range(30)
    ]
    settings = WordSettings("phrase", deduplicate=False, threshold=0.5)
    model = fit_words(settings, rows, 9, 50.0)
    sentences = [[str(unit) for unit in row] for row in rows]
    reference = Phrases(sentences, threshold=0.5, delimiter="_", scoring="npmi").freeze()
    assert [model(row) for row in rows] == [reference[sentence] for sentence in sentences]
    assert model(np.array([7, 1, 2, 1])) == ["7", "1_2", "1"]


def test_second_round_of_phrases_joins_phrases() -> None:
    random = np.random.default_rng(0)
    rows = [
        np.concatenate([[1, 2, 3] if random.random() < 0.3 else [random.integers(4, 30)] for _ in range(60)])
        for _ in range(30)
    ]
    model = fit_words(WordSettings("phrase", order=3, threshold=0.5), rows, 30, 50.0)
    assert "1_2+3" in model(np.array([7, 1, 2, 3, 5]))


def test_subwords_keep_all_units_in_order() -> None:
    random = np.random.default_rng(0)
    rows = [
        np.concatenate([[1, 2, 3, 4] if random.random() < 0.5 else random.integers(0, 50, 3) for _ in range(40)])
        for _ in range(40)
    ]
    words = fit_words(WordSettings("subword", subwords=80), rows, 50, 50.0)(rows[0])
    assert "1_2_3_4" in words
    assert "_".join(words) == "_".join(map(str, deduplicate(rows[0])))


def test_units_unseen_in_the_fit_stay_apart_from_seen_ones() -> None:
    rows = [np.random.default_rng(0).integers(0, 10, 100) for _ in range(20)]
    words = fit_words(WordSettings("subword", subwords=30), rows, 1000, 50.0)(np.array([999, 3]))
    assert words == ["999", "3"]


def test_more_subwords_than_the_corpus_gives() -> None:
    rows = [np.array([0, 1, 0, 1, 2])] * 3
    with pytest.raises(UserError, match=r"words\.subwords"):
        fit_words(WordSettings("subword", subwords=2), rows, 3, 50.0)
    assert fit_words(WordSettings("subword", subwords=5000), rows, 3, 50.0)(rows[0])


def test_unknown_kind_offers_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'ngram'"):
        WordSettings("ngrm")
