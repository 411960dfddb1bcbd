"""BYOL: the loss in numbers, and what it trains."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from speechssl.objectives.byol import Byol, ByolSettings


def test_case_by_hand(through, views):
    backbone = through(2)
    objective = Byol(backbone, ByolSettings(projection=2, hidden=2))
    objective.projector = objective.slow.copies[1] = nn.Identity()
    # The predictor mirrors: (x, y) -> (x, -y).
    objective.predictor = nn.Linear(2, 2, bias=False)
    objective.predictor.weight.data = torch.tensor([[1.0, 0], [0, -1]])
    # Clip 0, views at (1, 0) and (3, 4) / 5: cosines of predictions (1, 0) and (3, -4) / 5 to the other views are 0.6
    # and 0.6: the loss is 0.8 + 0.8. Clip 1, views at (0, 1) and (3, 4) / 5: -0.8 and -0.8: 3.6 + 3.6.
    first, second = torch.tensor([[2.0, 0], [0, 1]]), torch.tensor([[3.0, 4], [3, 4]])
    result = objective(backbone, views(first, second))
    assert result.loss.item() == pytest.approx((1.6 + 7.2) / 2, rel=1e-6)
    assert float(result.metrics["byol_loss"][0]) == pytest.approx(8.8, rel=1e-6)
    assert set(result.metrics) == set(objective.metrics)


def test_only_predictions_are_trained(tiny, views):
    objective = Byol(tiny, ByolSettings(projection=3, hidden=5))
    objective(tiny, views()).loss.backward()
    assert all(parameter.grad is None for parameter in objective.slow.parameters())
    trained = [*tiny.parameters(), *objective.projector.parameters(), *objective.predictor.parameters()]
    assert all(parameter.grad is not None for parameter in trained)


def test_heads_are_as_published(through):
    objective = Byol(through(2048), ByolSettings())
    for head, width in ((objective.projector, 2048), (objective.predictor, 256)):
        assert [type(layer).__name__ for layer in head] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
        assert head[0].weight.shape == (4096, width)
        assert head[-1].weight.shape == (256, 4096)


def test_copy_follows_by_hand(tiny, views):
    objective = Byol(tiny, ByolSettings(projection=3, hidden=5, momentum=0.75))
    objective(tiny, views())
    start = tiny.upper.weight.detach().clone()
    with torch.no_grad():
        tiny.upper.weight += 4
    objective(tiny, views())
    torch.testing.assert_close(objective.slow.copies[0].upper.weight, start + 1)


def test_resumes_bit_for_bit_and_evaluation_changes_nothing(tiny, views):
    objective = Byol(tiny, ByolSettings(projection=3, hidden=5))
    objective(tiny, views())
    backbone, resumed = copy.deepcopy(tiny), Byol(tiny, ByolSettings(projection=3, hidden=5))
    resumed.load_state_dict(objective.state_dict())
    assert torch.equal(objective(tiny, views(seed=2)).loss, resumed(backbone, views(seed=2)).loss)
    objective.eval()
    before = copy.deepcopy(objective.state_dict())
    objective(tiny, views(seed=3))
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
