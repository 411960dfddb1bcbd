"""The solver against scikit-learn, and the probes on problems whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from speechssl.evaluation.linear import Parts, probe, softmax_regression, statistics


def problem(layers: int, examples: int, dim: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping classes with correlated features of very different sizes."""
    torch.manual_seed(seed)
    labels = torch.randint(classes, (examples,))
    centres = torch.randn(layers, classes, dim)
    mixing = torch.randn(layers, dim, dim) * torch.logspace(0, -2, dim)
    return (torch.randn(layers, examples, dim) * 1.5 + centres[:, labels]) @ mixing, labels


@pytest.mark.parametrize("penalty", [1e-1, 1e-2])
def test_solver_finds_the_weights_of_scikit_learn(penalty: float) -> None:
    features, labels = problem(2, 400, 12, 5)
    mean, scale = statistics(features)
    features = (features - mean) / scale
    weights, biases = softmax_regression(features, labels, 5, [penalty], iterations=500)
    for layer in range(2):
        x = features[layer].numpy()
        reference = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-8, max_iter=5000).fit(x, labels.numpy())
        ours = weights[layer, 0].T.numpy()
        np.testing.assert_allclose(ours, reference.coef_, atol=2e-3)
        shift = biases[layer, 0].numpy() - reference.intercept_
        np.testing.assert_allclose(shift, shift.mean(), atol=2e-3)
        assert (x @ ours.T + biases[layer, 0].numpy()).argmax(1).tolist() == reference.predict(x).tolist()


def test_a_layer_is_solved_alone_as_among_others_and_a_penalty_as_in_a_grid() -> None:
    features, labels = problem(3, 200, 8, 3)
    together, _ = softmax_regression(features, labels, 3, [1e-1, 1e-2], iterations=200)
    alone, _ = softmax_regression(features[1:2], labels, 3, [1e-2], iterations=200)
    torch.testing.assert_close(together[1, 1], alone[0, 0], atol=5e-3, rtol=0)


def informative_layer(layer: int, examples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three layers of noise, one of which knows the class."""
    labels = torch.arange(examples) % 3
    features = torch.randn(3, examples, 6)
    features[layer, :, :3] += 4 * torch.nn.functional.one_hot(labels, 3)
    return features, labels


def test_weighted_sum_finds_the_layer_that_knows() -> None:
    torch.manual_seed(0)
    parts = Parts(*informative_layer(1, 300), *informative_layer(1, 90), *informative_layer(1, 90))
    result = probe(parts, 3, [1e-1, 1e-3], iterations=100, steps=300, seed=0)
    assert int(np.argmax(result.layer_weights)) == 1 and result.layer_weights[1] > 0.6
    assert sum(result.layer_weights) == pytest.approx(1)
    assert (result.weighted_predictions == parts.test_labels).float().mean() > 0.95
    accuracies = (result.predictions == parts.test_labels).float().mean(dim=1)
    assert accuracies[1] > 0.95 and accuracies[0] < 0.6 and accuracies[2] < 0.6


@pytest.mark.parametrize("fits_dev", [1e-3, 30.0], ids=["weak", "strong"])
def test_layer_penalty_and_weighted_sum_are_chosen_on_dev_not_on_test(fits_dev: float) -> None:
    """The dev part is right by one penalty and the test part by the other: what is reported is that of the dev part."""
    torch.manual_seed(0)
    features, labels = torch.randn(2, 60, 30), torch.arange(60) % 2
    features[:, :, 0] += 2 * labels
    grid = [30.0, 1e-3]
    other = next(penalty for penalty in grid if penalty != fits_dev)
    examples = torch.randn(2, 300, 30)
    as_by = {
        penalty: probe(Parts(features, labels, *2 * (examples, torch.zeros(300).long())), 2, [penalty], 100, 200, 0)
        for penalty in grid
    }
    assert all((as_by[30.0].predictions[layer] != as_by[1e-3].predictions[layer]).any() for layer in range(2))
    for layer in range(2):
        answers = {penalty: found.predictions[layer] for penalty, found in as_by.items()}
        parts = Parts(features, labels, examples, answers[fits_dev], examples, answers[other])
        result = probe(parts, 2, grid, 100, 200, 0)
        assert result.regularisation[layer] == fits_dev and result.dev_accuracy[layer] == 1
        assert torch.equal(result.predictions[layer], answers[fits_dev])
        assert int(np.argmax(result.dev_accuracy)) == layer
    answers = {penalty: found.weighted_predictions for penalty, found in as_by.items()}
    assert (answers[30.0] != answers[1e-3]).any()
    parts = Parts(features, labels, examples, answers[fits_dev], examples, answers[other])
    result = probe(parts, 2, grid, 100, 200, 0)
    assert torch.equal(result.weighted_predictions, answers[fits_dev]) and result.weighted_dev_accuracy == 1


def test_the_penalty_that_generalises_is_chosen() -> None:
    torch.manual_seed(0)
    # Few examples, many dimensions of noise: a weak penalty learns the noise.
    labels = torch.arange(40) % 2
    features, dev, test = (torch.randn(1, count, 60) for count in (40, 400, 400))
    for part in (features, dev, test):
        part[0, :, 0] += 2.5 * (torch.arange(part.shape[1]) % 2)
    both = [torch.arange(400) % 2] * 2
    result = probe(Parts(features, labels, dev, both[0], test, both[1]), 2, [1.0, 1e-5], 100, 10, 0)
    assert result.regularisation == [1.0]


def test_a_constant_dimension_is_harmless() -> None:
    features, labels = problem(1, 60, 5, 2)
    features[:, :, 3] = 7.0
    parts = Parts(features, labels, features, labels, features, labels)
    result = probe(parts, 2, [1e-2], iterations=50, steps=20, seed=0)
    assert np.isfinite(result.dev_accuracy).all() and result.dev_accuracy[0] > 0.7


def test_statistics_do_not_depend_on_how_large_the_numbers_are() -> None:
    """A fresh EfficientNet in evaluation mode gives numbers near 1e-14."""
    features, _ = problem(2, 60, 5, 2)
    features[1] *= 1e-14
    features[:, :, 3] = features[:, :1, 2:3].squeeze(-1)
    mean, scale = statistics(features)
    standard = (features - mean) / scale
    varying = [0, 1, 2, 4]
    torch.testing.assert_close(standard.std(dim=1, correction=0)[:, varying], torch.ones(2, 4))
    assert (scale[:, 0, 3] == 1).all()
