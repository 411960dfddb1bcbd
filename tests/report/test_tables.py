import math

import numpy as np
import pytest

from speechssl.report.benchmarks import Scale
from speechssl.report.tables import best_rows, number_text, spread_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (5_012_345, "5\u202f012\u202f345"),
        (0.36449, "0.364"),
        (-2.0, "-2.000"),
        (71.44, "71.4"),
        (1234.5, "1234"),
        (0.00012, "1.2e-04"),
        (0.0, "0.000"),
        (math.nan, "nan"),
    ],
)
def test_numbers(value, text):
    assert number_text(value) == text


def test_spread_is_numpys_sample_deviation():
    values = [0.31, 0.35, 0.42]
    assert spread_text(values) == f"{np.mean(values):.3f} ±\u00a0{np.std(values, ddof=1):.3f}"


@pytest.mark.parametrize(
    ("values", "text"), [([1e-4, 2e-4], "1.5e-04 ±\u00a07.1e-05"), ([0.3, math.nan], "nan"), ([0.3, math.inf], "inf")]
)
def test_spread_of_small_numbers_and_of_what_is_none(values, text):
    assert spread_text(values) == text


def test_one_seed_has_no_spread():
    assert spread_text([0.25]) == "0.250"
    assert spread_text([]) == "\u2013"


def test_best_is_what_reads_best():
    means = [0.3001, None, 0.41996, 0.42004, math.nan]
    assert best_rows(means, "more") == {2, 3}
    assert best_rows(means, "less") == {0}
    assert best_rows(means, "") == set()


def test_nothing_is_best_alone():
    assert best_rows([0.4, None], "more") == set()


def test_best_of_a_benchmark_is_what_reads_best_with_its_decimals():
    summaries = [{"mean": mean, "spread": 0.0, "runs": 1} for mean in (0.9012, 0.9014, 0.90138)]
    cells = Scale(100, 2).cells([*summaries, None], "more")
    assert [(cell.text, cell.best) for cell in cells] == [
        ("90.12", False),
        ("90.14", True),
        ("90.14", True),
        ("\u2013", False),
    ]
