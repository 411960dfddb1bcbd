"""What all objectives over views have in common: settings that are refused, more views than two."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from speechssl.errors import UserError
from speechssl.objectives.barlow_twins import BarlowTwins, BarlowTwinsSettings
from speechssl.objectives.byol import Byol, ByolSettings
from speechssl.objectives.decar import Decar, DecarSettings
from speechssl.objectives.mixed_barlow_twins import MixedBarlowTwins, MixedBarlowTwinsSettings
from speechssl.objectives.moco import MoCo, MoCoSettings
from speechssl.objectives.simclr import Cola, ColaSettings, SimClr, SimClrSettings
from speechssl.objectives.slicer import Slicer, SlicerSettings
from speechssl.objectives.views import ViewBatch, ViewObjective, all_orders

EVERY = [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (BarlowTwinsSettings, "barlow_twins.projector", 0),
        (MixedBarlowTwinsSettings, "mixed_barlow_twins.beta", -1.0),
        (DecarSettings, "decar.temperature", 0.0),
        (DecarSettings, "decar.iterations", 0),
        (MoCoSettings, "moco.queue", 0),
        (MoCoSettings, "moco.momentum", 1.1),
        (SlicerSettings, "slicer.cluster_temperature", 0.0),
        (SlicerSettings, "slicer.momentum", -0.1),
        (SimClrSettings, "simclr.temperature", 0.0),
        (ColaSettings, "cola.projection", 0),
        (ByolSettings, "byol.momentum", 1.5),
    ],
)
def test_settings_are_refused_by_name(settings: Any, name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^objective.{name}={value} must be"):
        settings(**{name.split(".")[1]: value})


@pytest.mark.parametrize(
    ("build", "pairs"),
    [
        (lambda tiny: BarlowTwins(tiny, BarlowTwinsSettings(projector=5)), EVERY),
        (lambda tiny: MixedBarlowTwins(tiny, MixedBarlowTwinsSettings(projector=5)), EVERY),
        (lambda tiny: Byol(tiny, ByolSettings(hidden=5, projection=3)), EVERY),
        (lambda tiny: Cola(tiny, ColaSettings(projection=3)), EVERY),
        (lambda tiny: Slicer(tiny, SlicerSettings(queue=7, projection=3, clusters=4, cluster_hidden=5)), EVERY),
        (lambda tiny: MoCo(tiny, MoCoSettings(queue=7, projection=3, hidden=0)), [(0, 2), (1, 2)]),
        (
            lambda tiny: MoCo(tiny, MoCoSettings(queue=7, projection=3, barlow_taps=True, barlow_projector=5)),
            [(0, 2), (1, 2)],
        ),
        (lambda tiny: Decar(tiny, DecarSettings(prototypes=3, hidden=5, projection=3), clips=8), [(0, 1), (0, 2)]),
    ],
    ids=["barlow_twins", "mixed_barlow_twins", "byol", "cola", "slicer", "moco", "delores_m", "decar"],
)
def test_the_loss_of_three_views_is_the_mean_of_that_of_pairs(
    tiny: Any, views: Callable[..., ViewBatch], build: Callable[[Any], ViewObjective], pairs: list[tuple[int, int]]
) -> None:
    torch.manual_seed(2)
    objective = build(tiny)
    for epoch in (0, 1):  # so that memory bank and prototypes of DECAR are there
        objective(tiny, views(epoch=epoch))
    objective.eval()
    batch = views(epoch=1)
    batch.views.append(torch.randn(8, 4, 3))
    found = objective(tiny, batch)
    two = [objective(tiny, ViewBatch([batch.views[i], batch.views[j]], batch.clips, 1)) for i, j in pairs]
    assert found.loss.item() == pytest.approx(torch.stack([output.loss for output in two]).mean().item(), rel=1e-5)
    for name, (total, count) in found.metrics.items():
        means = [float(output.metrics[name][0]) / output.metrics[name][1] for output in two]
        assert float(total) / count == pytest.approx(sum(means) / len(means), rel=1e-5), name
    assert objective.train()(tiny, batch).loss.isfinite()


def test_nt_xent_of_three_views_written_out(through: Any, views: Callable[..., ViewBatch]) -> None:
    """A query has each of the two other views of its clip as a key, and the six of the two other clips as negatives."""
    torch.manual_seed(0)
    three = [torch.randn(3, 4) for _ in range(3)]
    objective = SimClr(through(4), SimClrSettings(temperature=0.2))
    objective.head = torch.nn.Identity()
    losses = []
    vectors = F.normalize(torch.stack(three), dim=2)
    for query, key in itertools.permutations(range(3), 2):
        for clip in range(3):
            logits = torch.einsum("vcd,d->vc", vectors, vectors[query, clip]) / 0.2
            others = logits[:, [other for other in range(3) if other != clip]].flatten()
            losses.append(torch.logsumexp(torch.cat([logits[key, clip, None], others]), 0) - logits[key, clip])
    found = objective(through(4), views(*three))
    assert found.loss.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
    assert found.metrics["contrast_loss"][1] == 18


def test_all_orders() -> None:
    a, b, c = (torch.tensor([[float(number)]]) for number in range(3))
    assert [part.flatten().tolist() for part in all_orders([a, b])] == [[0, 1], [1, 0]]
    first, second = (part.flatten().tolist() for part in all_orders([a, b, c]))
    assert sorted(zip(first, second, strict=True)) == sorted(itertools.permutations([0, 1, 2], 2))
    with pytest.raises(ValueError, match="2 of a clip or more, and here are 1"):
        ViewBatch([a], torch.tensor([0]), 0)
