from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from speechssl.models.running_norm import RunningNorm


def batches(count: int) -> list[torch.Tensor]:
    """Batches of the size that log-mel spectrograms have, each with another loudness."""
    generator = torch.Generator().manual_seed(0)
    return [-7.0 - number + (1 + number) * torch.randn(4, 8, 30, generator=generator) for number in range(count)]


def test_statistics_are_those_of_all_that_was_seen():
    norm, scaler = RunningNorm(updates=10), StandardScaler()
    for batch in batches(5):
        found = norm(batch)
        scaler.partial_fit(batch.reshape(-1, 1).numpy())
        expected = scaler.transform(batch.reshape(-1, 1).numpy()).reshape(batch.shape)
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    assert norm.mean.item() == pytest.approx(scaler.mean_[0], rel=1e-5)
    assert norm.var.item() == pytest.approx(scaler.var_[0], rel=1e-5)
    assert int(norm.count) == 5 and norm.count.dtype == torch.int64


def test_statistics_stay_after_the_last_update_and_in_evaluation():
    norm = RunningNorm(updates=2)
    first, second, third = batches(3)
    norm(first)
    norm.eval()(second)
    assert int(norm.count) == 1 and norm.mean.item() == pytest.approx(first.mean().item(), rel=1e-5)
    norm.train()(second)
    state = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    norm(third)
    assert int(norm.count) == 2 and all(torch.equal(norm.state_dict()[name], old) for name, old in state.items())


def test_before_the_first_update_the_input_passes():
    batch = batches(1)[0]
    torch.testing.assert_close(RunningNorm(updates=2).eval()(batch), batch, rtol=1e-4, atol=0)


def test_silence_is_finite():
    norm = RunningNorm(updates=2)
    assert torch.equal(norm(torch.full((2, 8, 10), -15.9)), torch.zeros(2, 8, 10))


def two_processes(rank: int, rendezvous: str, found: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    norm = RunningNorm(updates=2)
    norm(batches(2)[rank])
    torch.save(norm.state_dict(), f"{found}{rank}")
    torch.distributed.destroy_process_group()


def test_processes_share_their_statistics(tmp_path):
    torch.multiprocessing.spawn(two_processes, (str(tmp_path / "meet"), str(tmp_path / "found")), nprocs=2)
    seen = torch.stack(batches(2))
    for rank in range(2):
        state = torch.load(tmp_path / f"found{rank}", weights_only=True)
        assert state["mean"].item() == pytest.approx(seen.mean().item(), rel=1e-5)
        assert state["var"].item() == pytest.approx(seen.var(correction=0).item(), rel=1e-5)
        assert int(state["count"]) == 1


def test_statistics_that_are_loaded_go_on_where_they_were():
    early, norm = RunningNorm(updates=2), RunningNorm(updates=2)
    first, second, third = batches(3)
    early(first)
    for batch in (third, third, third):
        norm(batch)
    norm.load_state_dict(early.state_dict())
    early(second), norm(second)
    assert int(norm.count) == 2 and torch.equal(norm.mean, early.mean) and torch.equal(norm.var, early.var)
