"""Optimisers against a step worked by hand."""

from __future__ import annotations

import pytest
import torch

from speechssl.errors import UserError
from speechssl.training.optimizer import LarcSGD, Muon, build_optimizer, orthogonalised
from speechssl.training.settings import OptimizerKind, OptimSettings


def layer(weight: list[float], gradient: list[float]) -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.tensor(weight))
    parameter.grad = torch.tensor(gradient)
    return parameter


def test_larc_step_by_hand():
    # ||w|| = 5, ||g|| = 10, decay 0.2: rate 0.1 * 5 / (10 + 0.2 * 5) = 1 / 22; step 0.5 * (g + 0.2 w) / 22.
    weight = layer([3.0, 4.0], [6.0, -8.0])
    settings = OptimSettings(kind=OptimizerKind.sgd, lr=0.5, momentum=0.9, weight_decay=0.2, trust=0.1)
    optimizer = build_optimizer(torch.nn.ParameterList([weight]), settings, torch.float32)
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
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([torch.nn.Linear(2, 2, bias=False)])})
    model.register_parameter("frozen", frozen)
    for kind in OptimizerKind:
        optimizer = build_optimizer(model, OptimSettings(kind=kind), torch.float32)
        assert len(optimizer.param_groups[0]["params"]) == 1


class TwoLayers(torch.nn.Module):
    """Two layers of matrices of two shapes, and an input that is none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.input = torch.nn.Linear(12, 16)
        self.layers = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(16, 24), torch.nn.Linear(24, 16)) for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.input(x)
        for layer in self.layers:
            x = x + layer(x).tanh()
        return x


MUON = OptimSettings(kind=OptimizerKind.muon, lr=0.01, momentum=0.95, weight_decay=0.1)


def trained(model: torch.nn.Module, *optimizers: torch.optim.Optimizer, steps: int = 3) -> list[torch.Tensor]:
    torch.manual_seed(1)
    for x in torch.randn(steps, 8, 12):
        model(x).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return [weight.detach() for weight in model.parameters()]


def models(number: int) -> list[TwoLayers]:
    made = [TwoLayers() for _ in range(number)]
    for model in made:
        model.load_state_dict(made[0].state_dict())
    return made


def test_muon_moves_layers_as_torch_does_and_the_rest_as_adamw_does():
    ours, theirs = models(2)
    matrices = [weight for weight in theirs.layers.parameters() if weight.ndim == 2]
    rest = [weight for weight in theirs.parameters() if all(weight is not matrix for matrix in matrices)]
    peers = (
        torch.optim.Muon(matrices, lr=0.01, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=0.01, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1),
    )

    start = [weight.detach().clone() for weight in ours.parameters()]
    # torch iterates in bf16; three steps apart by rounding alone stay within 2 % of how far a weight has moved.
    mine = trained(ours, build_optimizer(ours, MUON, torch.bfloat16))
    for before, weight, other in zip(start, mine, trained(theirs, *peers), strict=True):
        assert (weight - other).norm() < 0.02 * (other - before).norm()


def test_muon_brings_singular_values_near_one():
    torch.manual_seed(0)
    matrices = torch.randn(3, 20, 50)
    for each in (matrices, matrices.mT):
        u, _, vh = torch.linalg.svd(each, full_matrices=False)
        result = orthogonalised(each)
        # The singular vectors stay: seen in them the result is diagonal.
        seen = u.mT @ result @ vh.mT
        diagonal = seen.diagonal(dim1=-2, dim2=-1)
        assert (seen - torch.diag_embed(diagonal)).abs().max() < 1e-3
        assert diagonal.min() > 0.6 and diagonal.max() < 1.3


def test_muon_goes_on_from_its_state():
    whole, first, second = models(3)
    expected = trained(whole, build_optimizer(whole, MUON, torch.float32), steps=4)

    torch.manual_seed(1)
    batches = torch.randn(4, 8, 12)
    optimizer = build_optimizer(first, MUON, torch.float32)
    for number, x in enumerate(batches):
        if number == 2:
            state = optimizer.state_dict()
            second.load_state_dict(first.state_dict())
            first, optimizer = second, build_optimizer(second, MUON, torch.float32)
            optimizer.load_state_dict(state)
        first(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    for weight, other in zip(first.parameters(), expected, strict=True):
        assert torch.equal(weight, other)


def test_muon_wants_transformer_layers():
    with pytest.raises(UserError, match="use adamw"):
        build_optimizer(torch.nn.Linear(3, 3), MUON, torch.float32)


def test_a_matrix_without_gradient_stays():
    (model,) = models(1)
    optimizer = build_optimizer(model, MUON, torch.float32)
    assert isinstance(optimizer, Muon)
    before = [weight.detach().clone() for weight in model.parameters()]
    optimizer.step()
    assert all(torch.equal(weight, other) for weight, other in zip(model.parameters(), before, strict=True))
