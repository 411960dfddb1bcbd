"""What all objectives over views have in common."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from speechssl.objectives.barlow_twins import BarlowTwinsSettings
from speechssl.objectives.byol import ByolSettings
from speechssl.objectives.choose import ViewObjectiveName, ViewObjectiveSettings, build_view_objective
from speechssl.objectives.decar import Decar, DecarSettings
from speechssl.objectives.mixed_barlow_twins import MixedBarlowTwinsSettings
from speechssl.objectives.moco import MoCoSettings
from speechssl.objectives.simclr import ColaSettings, SimClrSettings
from speechssl.objectives.slicer import SlicerSettings

MOCO = {"projection": 3, "hidden": 5, "queue": 4, "barlow_projector": 4, "barlow_taps": True}
SLICER = {"projection": 3, "queue": 4, "clusters": 4, "cluster_hidden": 5}
SMALL = {
    "barlow_twins": BarlowTwinsSettings(projector=8),
    "byol": ByolSettings(projection=3, hidden=5),
    "cola": ColaSettings(projection=3),
    "decar": DecarSettings(prototypes=2, projection=3, hidden=4),
    "mixed_barlow_twins": MixedBarlowTwinsSettings(projector=8),
    "moco": MoCoSettings(**MOCO),
    "simclr": SimClrSettings(hidden=5, projection=3),
    "slicer": SlicerSettings(**SLICER),
}


def build(name: str, backbone: nn.Module, settings: object = None) -> nn.Module:
    chosen = ViewObjectiveSettings(ViewObjectiveName(name), **{name: settings or SMALL[name]})
    return build_view_objective(chosen, backbone, clips=8)


@pytest.mark.parametrize("name", [name.value for name in ViewObjectiveName])
def test_loss_and_memories_stay_float32_under_autocast(name, tiny, views):
    objective = build(name, tiny)
    with torch.autocast("cpu", torch.bfloat16):
        for epoch in (0, 1):  # DECAR clusters between them
            loss = objective(tiny, views(epoch=epoch)).loss
    assert loss.dtype == torch.float32
    assert {kept.dtype for kept in objective.buffers() if kept.is_floating_point()} <= {torch.float32}
    if isinstance(objective, Decar):
        torch.testing.assert_close(objective.prototypes.norm(dim=1), torch.ones(2))
    # Autocast must not reuse weights that it cast for a view that has no gradient.
    loss.backward()
    learnt = [weight for weight in [*tiny.parameters(), *objective.parameters()] if weight.requires_grad]
    assert all(weight.grad is not None for weight in learnt)


@pytest.mark.parametrize(("name", "kind", "small"), [("moco", MoCoSettings, MOCO), ("slicer", SlicerSettings, SLICER)])
def test_keys_come_from_a_slow_copy(name, kind, small, tiny, views):
    for momentum, stays in ((1.0, True), (0.0, False)):
        backbone = copy.deepcopy(tiny)
        objective = build(name, backbone, kind(**small, momentum=momentum))
        before = copy.deepcopy(objective.slow.copies)
        objective(backbone, views())
        nn.init.ones_(backbone.upper.weight)
        objective(backbone, views())
        slow = objective.slow.copies[0].upper.weight
        assert torch.equal(slow, before[0].upper.weight if stays else backbone.upper.weight)
