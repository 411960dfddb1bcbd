"""Projection heads and slow copies."""

from __future__ import annotations

import torch
from torch import nn

from speechssl.objectives.heads import MomentumCopy, projection


def test_layers_of_a_projection():
    kinds = [type(layer).__name__ for layer in projection([3, 4, 5])]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert [type(layer).__name__ for layer in projection([3, 4, 5], norm=False)] == ["Linear", "ReLU", "Linear"]
    assert [type(layer).__name__ for layer in projection([3, 5])] == ["Linear"]


def test_copy_follows_by_hand():
    # From 4 towards 8 with m = 0.75: 0.75 * 4 + 0.25 * 8 = 5, then 0.75 * 5 + 0.25 * 8 = 5.75.
    module = nn.Linear(1, 1, bias=False)
    module.weight.data.fill_(4)
    slow = MomentumCopy(0.75, module)
    slow.follow(module)
    module.weight.data.fill_(8)
    weights = []
    for _ in range(2):
        slow.follow(module)
        weights.append(slow.copies[0].weight.item())
    assert weights == [5.0, 5.75]
    assert not any(parameter.requires_grad for parameter in slow.parameters())


def test_copy_starts_from_weights_loaded_after_it_was_made():
    module = nn.Linear(2, 2)
    slow = MomentumCopy(0.99, module)
    module.load_state_dict({"weight": torch.full((2, 2), 3.0), "bias": torch.zeros(2)})
    slow.follow(module)
    assert torch.equal(slow.copies[0].weight, module.weight)


def test_copy_resumes_from_its_state():
    module = nn.Linear(2, 2)
    slow = MomentumCopy(0.9, module)
    slow.follow(module)
    module.weight.data.add_(1)
    resumed = MomentumCopy(0.9, module)
    resumed.load_state_dict(slow.state_dict())
    slow.follow(module)
    resumed.follow(module)
    assert torch.equal(slow.copies[0].weight, resumed.copies[0].weight)
    assert not torch.equal(slow.copies[0].weight, module.weight)
