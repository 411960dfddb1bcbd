"""SLICER: contrasts of clips and clusters in numbers, and what k-mix mixes."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from speechssl.objectives.contrastive import TemperatureSettings
from speechssl.objectives.slicer import Slicer, SlicerSettings, cluster_contrast, inequality


def small(**settings: object) -> SlicerSettings:
    return SlicerSettings(**{"projection": 3, "queue": 16, "clusters": 4, "cluster_hidden": 5} | settings)


def test_clusters_by_hand():
    # Two clusters, two clips, each surely in one: columns (1, 0), (0, 1) in both views. Each column has its key at
    # cosine 1 and two negatives at 0: ln(1 + 2 / e).
    sure = torch.eye(2)
    assert cluster_contrast(sure, sure, 1.0).item() == pytest.approx(math.log(1 + 2 / math.e), rel=1e-6)
    # Swapped in the second view: the key is at 0, one negative at 1, one at 0: ln(2 + e).
    assert cluster_contrast(sure, sure.flip(1), 1.0).item() == pytest.approx(math.log(2 + math.e), rel=1e-6)


def test_clusters_written_out():
    first, second = np.random.default_rng(0).dirichlet(np.ones(3), size=(2, 5))
    columns = [*first.T, *second.T]
    losses = []
    for i, column in enumerate(columns):
        cosines = [column @ other / np.linalg.norm(column) / np.linalg.norm(other) for other in columns]
        others = [math.exp(cosine / 0.5) for k, cosine in enumerate(cosines) if k != i]
        losses.append(-math.log(math.exp(cosines[(i + 3) % 6] / 0.5) / sum(others)))
    ours = cluster_contrast(torch.tensor(first), torch.tensor(second), 0.5)
    assert ours.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_inequality_by_hand():
    assert inequality(torch.tensor([[0.5, 0.5], [0.5, 0.5]])).item() == pytest.approx(0, abs=1e-6)
    # All in one of two clusters: ln 2 - 0.
    assert inequality(torch.tensor([[1.0, 0], [1, 0]])).item() == pytest.approx(math.log(2), rel=1e-6)


def test_both_directions_by_hand(through, views):
    backbone = through(2)
    settings = SlicerSettings(projection=2, queue=3, clusters=2, temperature=1.0, entropy_weight=0.5)
    objective = Slicer(backbone, settings)
    objective.head = objective.slow.copies[1] = nn.Identity()
    objective.cluster_head = nn.Identity()
    objective.queue.keys.copy_(torch.tensor([[0.0, 1], [-1, 0], [0, 1]]))
    first, second = torch.tensor([[1.0, 0]]), torch.tensor([[3.0, 4]])
    result = objective(backbone, views(first, second))
    # (1, 0) and (3, 4) / 5 are key and query of each other, at 0.6. The negatives are at 0, -1, 0 from the first and
    # at 0.8, -0.6, 0.8 from the second.
    one = -0.6 + math.log(math.exp(0.6) + 2 + math.exp(-1))
    other = -0.6 + math.log(math.exp(0.6) + 2 * math.exp(0.8) + math.exp(-0.6))
    probabilities = first.softmax(1), second.softmax(1)
    clusters = cluster_contrast(*probabilities, 1.0).item()
    penalty = sum(inequality(part).item() for part in probabilities)
    assert result.loss.item() == pytest.approx(one + other + clusters + 0.5 * penalty, rel=1e-5)
    total, count = result.metrics["contrast_loss"]
    assert (float(total), count) == (pytest.approx(one + other, rel=1e-5), 2)
    assert set(result.metrics) == set(objective.metrics)
    # The keys of both directions enter the queue.
    torch.testing.assert_close(objective.queue.keys, torch.tensor([[1, 0], [0.6, 0.8], [0, 1]]))


def test_older_keys_of_a_clip_are_no_negatives_of_it(through, views):
    backbone = through(2)
    objective = Slicer(backbone, SlicerSettings(projection=2, queue=4, clusters=2, temperature=1.0, momentum=1.0))
    objective.head = objective.slow.copies[1] = nn.Identity()
    objective.cluster_head = nn.Identity()
    right, up = torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])
    objective(backbone, views(right, right, clips=[3]))
    objective(backbone, views(up, up, clips=[4]))
    # Keys and queries of clip 3 are right. Its own two in the queue are left out, those of clip 4 are at cosine 0.
    total, count = objective(backbone, views(right, right, clips=[3])).metrics["contrast_loss"]
    assert float(total) / count == pytest.approx(-1 + math.log(math.e + 2), rel=1e-5)


def test_only_queries_are_trained_and_evaluation_changes_nothing(tiny, views):
    objective = Slicer(tiny, small(temperatures=TemperatureSettings(individual=True)), clips=8)
    objective(tiny, views()).loss.backward()
    assert all(parameter.grad is None for parameter in objective.slow.parameters())
    assert all(parameter.grad is not None for parameter in objective.parameters() if parameter.requires_grad)
    objective.eval()
    before = copy.deepcopy(objective.state_dict())
    objective(tiny, views(seed=2))
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())


def test_resumes_bit_for_bit(tiny, views):
    objective = Slicer(tiny, small())
    objective(tiny, views())
    backbone, resumed = copy.deepcopy(tiny), Slicer(tiny, small())
    resumed.load_state_dict(objective.state_dict())
    random_state = torch.get_rng_state()
    expected = objective(tiny, views(seed=2)).loss
    torch.set_rng_state(random_state)
    assert torch.equal(resumed(backbone, views(seed=2)).loss, expected)
    assert torch.equal(resumed.queue.keys, objective.queue.keys)
