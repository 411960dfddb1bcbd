"""Batch norm shared by two processes against torch's own on both batches together."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from speechssl.training.batch_norm import SharedBatchNorm, share_batch_norm

SHAPES = {"spectrograms": (6, 3, 4, 5), "vectors": (6, 3)}


def made(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a batch norm with weights, its input, and the gradient of its output."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3) if name == "spectrograms" else nn.BatchNorm1d(3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm, 5 + 2 * torch.randn(SHAPES[name]), torch.randn(SHAPES[name])


def passed(norm: nn.Module, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    y = norm(x)
    y.backward(gradient)
    return {"y": y.detach(), "x.grad": x.grad, "weight.grad": norm.weight.grad, "bias.grad": norm.bias.grad}


def two_processes(rank: int, name: str, rendezvous: str, found: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    norm, x, gradient = made(name)
    shared = SharedBatchNorm(norm)
    # Of different sizes.
    part = slice(0, 2) if rank == 0 else slice(2, 6)
    torch.save({**passed(shared, x[part], gradient[part]), **shared.state_dict()}, f"{found}{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", list(SHAPES))
def test_two_processes_are_one_with_both_batches(name, tmp_path):
    torch.multiprocessing.spawn(two_processes, (name, str(tmp_path / "meet"), str(tmp_path / "found")), nprocs=2)
    norm, x, gradient = made(name)
    expected = passed(norm, x, gradient)
    found = [torch.load(tmp_path / f"found{rank}", weights_only=True) for rank in range(2)]
    for key in ("y", "x.grad"):
        torch.testing.assert_close(torch.cat([part[key] for part in found]), expected[key], rtol=1e-4, atol=1e-5)
    for key in ("weight.grad", "bias.grad"):
        torch.testing.assert_close(found[0][key] + found[1][key], expected[key], rtol=1e-4, atol=1e-5)
    for key, value in norm.state_dict().items():
        for part in found:
            torch.testing.assert_close(part[key], value, rtol=1e-4, atol=1e-5)


def test_every_batch_norm_is_replaced_and_keeps_its_name():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    state = copy.deepcopy(model.state_dict())
    share_batch_norm(model)
    assert isinstance(model[1], SharedBatchNorm) and isinstance(model[2][1], SharedBatchNorm)
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_in_evaluation_it_is_batch_norm():
    norm, x, _ = made("spectrograms")
    norm(x)
    norm.eval()
    assert torch.equal(SharedBatchNorm(norm)(x), norm(x))
