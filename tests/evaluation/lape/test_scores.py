"""Scores against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix
from sklearn.preprocessing import StandardScaler

from speechssl.evaluation.lape import scores
from speechssl.evaluation.lape.heads import Examples
from speechssl.evaluation.lape.scores import accuracy, balanced_accuracy, count_confusion, score_features
from speechssl.evaluation.lape.settings import Protocol
from speechssl.evaluation.lape.splits import Division
from tests.evaluation.lape.test_heads import blobs
from tests.evaluation.lape.test_protocols import TEST, TRAIN, VALID, settings, task_data


def test_accuracies_are_scikit_learns() -> None:
    random = np.random.default_rng(0)
    truth, predicted = random.choice([0, 1, 2, 4], 200, p=[0.7, 0.1, 0.1, 0.1]), random.integers(0, 5, 200)
    matrix = count_confusion(truth, predicted, 5)
    assert matrix.tolist() == confusion_matrix(truth, predicted, labels=range(5)).tolist()
    assert accuracy(matrix) == pytest.approx(accuracy_score(truth, predicted))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert balanced_accuracy(matrix) == pytest.approx(balanced_accuracy_score(truth, predicted))


def test_the_score_of_folds_is_the_mean_of_their_accuracies() -> None:
    examples = blobs(150, spread=6.0)
    divisions = [Division("fold 1", TRAIN, VALID, TEST), Division("fold 2", TEST, VALID, TRAIN[:20])]
    given = settings(lr=[1e-2], label_fractions=[0.1, 1.0])
    found = list(score_features(examples.features, task_data(examples.labels), divisions, given))
    assert [(score.label_fraction, score.seed) for score in found] == [(0.1, 1), (0.1, 2), (1.0, 1), (1.0, 2)]
    for score in found:
        both = zip(divisions, score.parts, strict=True)
        means = [accuracy_score(examples.labels[d.test], part.outcome.predictions) for d, part in both]
        assert score.to_json()["accuracy"] == pytest.approx(np.mean(means))
        assert score.confusion.sum() == 80
    a_tenth = [
        sum(max(1, round(count / 10)) for count in torch.bincount(examples.labels[d.train]).tolist()) for d in divisions
    ]
    assert [part.train for part in found[0].parts] == a_tenth
    assert [part.train for part in found[2].parts] == [60, 60]


def test_where_classes_have_distances_lokis_predictions_stand_beside_the_most_probable() -> None:
    distances = np.array([[0.0, 1.0, 4.0], [1.0, 0.0, 2.0], [4.0, 2.0, 0.0]])
    examples = blobs(150, spread=6.0)
    division = Division("official", TRAIN, VALID, TEST)
    (score,) = score_features(examples.features, task_data(examples.labels), [division], settings(seeds=[1]))
    truth = examples.labels[TEST].tolist()
    posteriors = np.exp(score.parts[0].outcome.logits.double().numpy())
    posteriors /= posteriors.sum(axis=1, keepdims=True)
    costs = [[sum(p[i] * distances[y, i] ** 2 for i in range(3)) for y in range(3)] for p in posteriors]
    likely, by_loki = posteriors.argmax(axis=1), np.argmin(costs, axis=1)
    assert (likely != by_loki).any()
    expected = {
        "mean_distance": np.mean([distances[pair] for pair in zip(truth, likely, strict=True)]),
        "loki_accuracy": accuracy_score(truth, by_loki),
        "loki_mean_distance": np.mean([distances[pair] for pair in zip(truth, by_loki, strict=True)]),
    }
    found = score.to_json(distances)
    assert {kind: found[kind] for kind in expected} == pytest.approx(expected)
    assert found.pop("parts")[0].items() >= {kind: found[kind] for kind in (*expected, "accuracy")}.items()
    without = score.to_json()
    assert without["accuracy"] == found["accuracy"] and not set(without) & set(expected)


def test_features_are_standardised_by_the_training_part(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Examples] = []
    monkeypatch.setattr(
        scores, "sound", lambda train, rows, valid, test, options: seen.extend([train, valid, test()]) or []
    )
    examples = Examples(100 * blobs(150).features + torch.arange(5), blobs(150).labels)
    division = Division("official", TRAIN, VALID, TEST)
    list(scores._score_division(examples.features, task_data(examples.labels), division, 0.1, settings()))
    scaler = StandardScaler().fit(examples.features[TRAIN].numpy())
    for part, rows in zip(seen, (TRAIN, VALID, TEST), strict=True):
        expected = torch.tensor(scaler.transform(examples.features[rows].numpy()))
        torch.testing.assert_close(part.features, expected, rtol=1e-4, atol=1e-4)


def test_standardising_is_off_in_the_papers_protocol_unless_asked_for() -> None:
    assert settings().standardised and not settings(standardise=False).standardised
    assert not settings(protocol=Protocol.paper, lr=[1e-3]).standardised
    assert settings(protocol=Protocol.paper, lr=[1e-3], standardise=True).standardised
