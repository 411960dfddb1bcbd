"""Term-weighted values worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from speechssl.evaluation.superb.search.twv import BETA, TermWeightedValue

DOCUMENTS = ["a", "b", "c", "d"]
MATCHES = {"one": {"a"}, "two": {"b", "c"}}
SCORES = np.array([[0.9, 0.8, 0.1, 0.0], [0.2, 0.95, 0.7, 0.75], [1.0, 1.0, 1.0, 1.0]])
QUERIES = ["one", "two", "nowhere"]


def test_costs_are_those_of_quesst():
    """The README of its scoring tool gives what a match is expected to be worth as 0.0741289."""
    assert pytest.approx(1 / (1 + BETA), abs=1e-7) == 0.0741289


def test_values_by_hand():
    """At 0.9 all of `one` is found and half of `two`. A false alarm costs more than that."""
    value = TermWeightedValue(SCORES, QUERIES, DOCUMENTS, MATCHES)
    assert value.queries == 2, "a query that is nowhere does not count"
    assert value.best() == (pytest.approx(0.75), 0.9)
    assert value.at(0.9) == pytest.approx(0.75) and value.at(0.91) == pytest.approx(0.25)
    assert value.at(0.8) == pytest.approx((1 - 12.49 / 3 + 0.5) / 2)
    assert value.at(math.inf) == 0.0


def test_what_was_not_searched_counts():
    """Of 100 documents a false alarm costs 12.49 / 99 and 12.49 / 98; the third query is missed."""
    value = TermWeightedValue(SCORES, QUERIES, DOCUMENTS, MATCHES, other_queries=1, other_documents=96)
    assert value.best() == (pytest.approx((1 - 12.49 / 99 + 1 - 12.49 / 98) / 3), 0.7)


def test_a_match_in_a_document_that_was_not_searched_is_missed():
    value = TermWeightedValue(SCORES[:1], ["one"], DOCUMENTS, {"one": {"a", "z"}}, other_documents=96)
    assert value.best() == (pytest.approx(0.5), 0.9)


def test_pairs_of_one_score_are_found_together():
    value = TermWeightedValue(np.array([[0.5, 0.5, 0.1]]), ["one"], DOCUMENTS[:3], {"one": {"a"}})
    assert value.best() == (0.0, math.inf)
    assert value.at(0.5) == pytest.approx(1 - 12.49 / 2)


def test_no_query_that_counts():
    value = TermWeightedValue(SCORES, QUERIES, DOCUMENTS, {})
    assert value.queries == 0 and value.best() == (0.0, math.inf)
