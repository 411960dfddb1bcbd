"""Optimisers against a step worked by hand."""

from __future__ import annotations

import pytest
import torch

from speechssl.training.optimizer import LarcSGD, build_optimizer
from speechssl.training.settings import OptimizerKind, OptimSettings


def layer(weight: list[float], gradient: list[float]) -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.tensor(weight))
    parameter.grad = torch.tensor(gradient)
    return parameter


def test_larc_step_by_hand():
    # ||w|| = 5, ||g|| = 10, decay 0.2: rate 0.1 * 5 / (10 + 0.2 * 5) = 1 / 22; step 0.5 * (g + 0.2 w) / 22.
    weight = layer([3.0, 4.0], [6.0, -8.0])
    settings = OptimSettings(kind=OptimizerKind.sgd, lr=0.5, momentum=0.9, weight_decay=0.2, trust=0.1)
    optimizer = build_optimizer(torch.nn.ParameterList([weight]), settings)
    assert isinstance(optimizer, LarcSGD)
    optimizer.step()
    assert weight.tolist() == pytest.approx([3.0 - 0.5 * 6.6 / 22, 4.0 + 0.5 * 7.2 / 22])
    assert optimizer.param_groups[0]["weight_decay"] == 0.2


def test_a_weight_of_zeros_moves_at_the_common_rate():
    weight = layer([0.0, 0.0], [1.0, 2.0])
    LarcSGD([weight], 0.001, lr=0.5).step()
    assert weight.tolist() == [-0.5, -1.0]


def test_weights_that_do_not_learn_are_left_out():
    frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)
    model = torch.nn.ParameterList([layer([1.0], [1.0]), frozen])
    for kind in OptimizerKind:
        assert len(build_optimizer(model, OptimSettings(kind=kind)).param_groups[0]["params"]) == 1
