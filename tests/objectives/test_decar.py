"""DECAR-v2: clusters and losses worked by hand, and the state that a checkpoint holds."""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from speechssl.errors import UserError
from speechssl.objectives.decar import Decar, DecarSettings


def at(*degrees: float, lengths: tuple[float, ...] | None = None) -> Tensor:
    """Vectors in the plane by angle."""
    angles = torch.deg2rad(torch.tensor(degrees))
    scale = torch.tensor(lengths) if lengths else torch.ones(len(degrees))
    return torch.stack([angles.cos(), angles.sin()], dim=1) * scale[:, None]


def degrees_of(vectors: Tensor) -> list[float]:
    return sorted(torch.rad2deg(torch.atan2(vectors[:, 1], vectors[:, 0])).tolist())


@pytest.fixture
def plane(through):
    """An objective whose projections are the written features."""

    def make(clips: int, prototypes: int = 2) -> Decar:
        objective = Decar(through(2), DecarSettings(prototypes=prototypes, projection=2, hidden=2), clips)
        objective.projector = nn.Identity()
        return objective

    return make


def test_lengths_of_projections_do_not_move_centroids(plane, through, views):
    # Clips 0 and 1 lie at 0 and 20 degrees: their centroid is at 10. Not normalised, the first, 100 times as long,
    # would pull it to 0.2 degrees (and win every dot product as a first centroid).
    features = at(0, 20, 90, 110, lengths=(100, 1, 1, 0.01))
    objective = plane(clips=4)
    objective(through(2), views(features, features, epoch=0))
    torch.testing.assert_close(objective.bank.norm(dim=1), torch.ones(4))
    objective(through(2), views(features, features, epoch=1))
    assert degrees_of(objective.prototypes) == pytest.approx([10, 100], abs=1e-3)


def test_loss_by_hand(plane, through, views):
    objective = plane(clips=2)
    first = at(0, 90)
    objective(through(2), views(first, first, epoch=0))
    # Clusters are at 0 and 90 degrees. The second views lie at 60 and 90 degrees: similarities to their own clusters
    # are 1/2 and 1, to the other ones sin 60 and 0.
    result = objective(through(2), views(first, at(60, 90), epoch=1))
    sine = math.sin(math.radians(60))
    losses = [-0.5 + math.log(math.exp(0.5) + math.exp(sine)), -1 + math.log(math.exp(1) + 1)]
    assert result.loss.item() == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert [int(part) for part in result.metrics["cluster_accuracy"]] == [1, 2]
    assert set(result.metrics) == set(objective.metrics)


def test_the_other_view_predicts(tiny, views):
    objective = Decar(tiny, DecarSettings(prototypes=2, projection=3, hidden=4), clips=8)
    batch = views()
    batch.views[0].requires_grad_()
    batch.views[1].requires_grad_()
    objective(tiny, batch)
    batch.epoch = 1
    objective(tiny, batch).loss.backward()
    assert batch.views[0].grad is None
    assert batch.views[1].grad.abs().sum() > 0


def test_clips_without_a_cluster_fill_the_bank_without_a_loss(tiny, views):
    objective = Decar(tiny, DecarSettings(prototypes=2, projection=3, hidden=4), clips=10)
    result = objective(tiny, views(clips=list(range(8))))
    result.loss.backward()
    assert result.loss.item() == 0
    assert result.metrics["cluster_loss"][1] == 0
    assert not any(parameter.grad.any() for parameter in [*tiny.parameters(), *objective.parameters()])
    assert objective.known.tolist() == [True] * 8 + [False] * 2
    # Clips 8 and 9 are first read in epoch 1: they have no cluster yet, the six others do.
    result = objective(tiny, views(clips=[8, 9, 0, 1, 2, 3, 4, 5], epoch=1))
    assert result.metrics["cluster_loss"][1] == 6
    assert objective.clusters[8:].tolist() == [-1, -1]
    objective(tiny, views(clips=[0, 1], epoch=2))
    assert (objective.clusters >= 0).all()


def test_clusters_are_fixed_within_an_epoch(tiny, views):
    objective = Decar(tiny, DecarSettings(prototypes=3, projection=3, hidden=4), clips=8)
    for epoch in (0, 1):
        objective(tiny, views(epoch=epoch))
    before = objective.prototypes.clone(), objective.clusters.clone(), objective.bank.clone()
    objective(tiny, views(epoch=1, seed=2))
    assert torch.equal(objective.prototypes, before[0])
    assert torch.equal(objective.clusters, before[1])
    assert not torch.equal(objective.bank, before[2])
    objective(tiny, views(epoch=2))
    assert not torch.equal(objective.prototypes, before[0])
    assert "prototypes" not in dict(objective.named_parameters())


def test_resumes_bit_for_bit_within_and_between_epochs(tiny, views):
    settings = DecarSettings(prototypes=3, projection=3, hidden=4)
    epochs = [0, 0, 1, 1, 2]
    for cut in range(1, len(epochs)):
        backbone, objective = copy.deepcopy(tiny), Decar(tiny, settings, clips=8)
        for step, epoch in enumerate(epochs[:cut]):
            objective(backbone, views(epoch=epoch, seed=step))
        resumed_backbone, resumed = copy.deepcopy(backbone), Decar(tiny, settings, clips=8)
        resumed.load_state_dict(objective.state_dict())
        for step, epoch in enumerate(epochs[cut:], start=cut):
            batch = views(epoch=epoch, seed=step)
            expected, actual = objective(backbone, batch), resumed(resumed_backbone, batch)
            assert torch.equal(expected.loss, actual.loss)
        for name, value in objective.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_broken_batch_does_not_enter_the_bank(tiny, views):
    objective = Decar(tiny, DecarSettings(prototypes=2, projection=3, hidden=4), clips=8)
    tiny.eval()
    objective.projector.eval()
    batch = views()
    batch.views[0][3] = float("nan")
    objective(tiny, batch)
    assert objective.known.tolist() == [True] * 3 + [False] + [True] * 4
    assert objective.bank.isfinite().all()


PROCESS = """
import sys
import torch
from torch import distributed, nn
from speechssl.models.backbone import BackboneOutput
from speechssl.objectives.decar import Decar, DecarSettings
from speechssl.objectives.views import ViewBatch

class Through(nn.Module):
    dim = 2
    def forward(self, view):
        return BackboneOutput(view[:, None], [], view)

rank, store = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
objective = Decar(Through(), DecarSettings(prototypes=2, projection=2, hidden=2), 4)
objective.projector = nn.Identity()
clips = torch.tensor([[0, 3], [1, 2]])[rank]
rows = torch.eye(2)[torch.tensor([0, 1, 1, 0])]
objective(Through(), ViewBatch([rows[clips]] * 2, clips, -1))
assert objective.known.all() and torch.equal(objective.bank, rows)
objective(Through(), ViewBatch([rows[clips]] * 2, clips, 0))
assert (objective.clusters[[0, 1]] == objective.clusters[[3, 2]]).all(), "clustered with all clips of both"
distributed.barrier()
distributed.destroy_process_group()
"""


def test_two_processes_share_one_bank(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "store")]) for rank in range(2)
    ]
    assert [process.wait(timeout=100) for process in processes] == [0, 0]


def test_more_prototypes_than_clips_are_refused(tiny):
    with pytest.raises(UserError, match=r"decar.prototypes=1024 .* there are 50: give objective.decar.prototypes=5"):
        Decar(tiny, DecarSettings(), clips=50)
