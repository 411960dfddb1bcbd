"""Loki's rule on cases worked by hand, and tables of distances as people write them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speechssl.errors import UserError
from speechssl.evaluation.lape.loki import loki, mean_distance, read_distances

LINE = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]])
"""Three classes in a row."""


def test_cases_by_hand() -> None:
    # (1/2, 0, 1/2): class 0 costs 1/2 * 4 = 2, class 1 1/2 + 1/2 = 1, class 2 2: the one between, which has no
    # probability. (.55, .25, .2): .25 + .8 = 1.05, .55 + .2 = .75, 2.2 + .25 = 2.45. (.9, .05, .05): .25, .95, 3.65.
    posteriors = np.array([[0.5, 0.0, 0.5], [0.55, 0.25, 0.2], [0.9, 0.05, 0.05]])
    assert loki(posteriors, LINE).tolist() == [1, 1, 0]
    # Not squared, class 0 of the second would cost .25 + .4 = .65 and class 1 .75.
    assert (posteriors @ LINE).argmin(axis=1).tolist()[1] == 0


def test_with_equal_distances_it_is_the_most_probable_class() -> None:
    posteriors = np.random.default_rng(0).dirichlet(np.ones(6), 50)
    assert loki(posteriors, 1.0 - np.eye(6)).tolist() == posteriors.argmax(axis=1).tolist()


def test_it_is_the_sum_of_the_formula() -> None:
    random = np.random.default_rng(1)
    places = random.standard_normal((5, 2))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    posteriors = random.dirichlet(np.ones(5), 40)
    for posterior, found in zip(posteriors, loki(posteriors, distances), strict=True):
        costs = [sum(posterior[i] * distances[y, i] ** 2 for i in range(5)) for y in range(5)]
        assert found == int(np.argmin(costs))


def test_mean_distance_by_hand() -> None:
    # Of five predictions two are right, two are one class off and one is two classes off: (1 + 1 + 2) / 5.
    confusion = np.array([[2, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert mean_distance(confusion, LINE) == pytest.approx(0.8)


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join("\t".join(line.split()) + "\n" for line in lines))
    return path


def test_lines_and_columns_may_be_in_any_order(tmp_path: Path) -> None:
    table = write(tmp_path / "d.tsv", "class c a b", "b 1.5 1 0", "a 2 0 1", "c 0 2 1.5")
    assert read_distances(table, ["a", "b", "c"]).tolist() == [[0, 1, 2], [1, 0, 1.5], [2, 1.5, 0]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["class dog cat", "dog 0 1"], "no line of the class 'cat'"),
        (["class dog", "dog 0", "cat 1"], "no column of the class 'cat'"),
        (["class dog cta", "dog 0 1", "cta 1 0"], "no line of the class 'cat'; did you mean 'cta'?"),
        (["class dog cat cow", "dog 0 1 1", "cat 1 0 1", "cow 1 1 0"], "a line of the class 'cow', which the task"),
        (["class dog cat cow", "dog 0 1 1", "cat 1 0 1"], "a column of the class 'cow', which the task lacks"),
        (["class dog cat", "dog 0 1", "dog 0 1", "cat 1 0"], "two lines of the class 'dog'"),
        (["class dog cat", "dog 0 far", "cat 1 0"], "the distance of dog and cat is 'far'"),
        (["class dog cat", "dog 0 -1", "cat -1 0"], "the distance of cat and dog is '-1'"),
        (["class dog cat", "dog 0 inf", "cat inf 0"], "the distance of cat and dog is 'inf'"),
        (["class dog cat", "dog 0 1", "cat 1 2"], "from cat to itself it is 2: it must be 0"),
        (["class dog cat", "dog 0 1", "cat 2 0"], "from cat to dog it is 2, and back 1: make them equal"),
        (["name dog cat", "dog 0 1", "cat 1 0"], "has no column 'class'"),
    ],
)
def test_what_is_no_table_of_distances_is_one_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read_distances(write(tmp_path / "d.tsv", *lines), ["cat", "dog"])
    assert message in str(caught.value) and "\n" not in str(caught.value)
