"""SimCLR and COLA against their formulas, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from speechssl.objectives.contrastive import HardNegativeSettings, TemperatureSettings
from speechssl.objectives.simclr import Cola, ColaSettings, SimClr, SimClrSettings


def without_head(backbone: nn.Module, **settings: object) -> SimClr:
    objective = SimClr(backbone, SimClrSettings(**settings), clips=4)
    objective.head = nn.Identity()
    return objective


def test_case_by_hand(through, views):
    # Clip 0: both views at (1, 0); clip 1: both at (0, 1). Each view has its key at cosine 1 and two negatives at 0:
    # -ln(e^2 / (e^2 + 2)) at temperature 1/2.
    features = torch.tensor([[2.0, 0], [0, 3]])
    result = without_head(through(2), temperature=0.5)(through(2), views(features, features))
    assert result.loss.item() == pytest.approx(math.log(1 + 2 * math.exp(-2)), rel=1e-5)
    assert result.metrics["contrast_accuracy"] == (4, 4)
    total, count = result.metrics["contrast_loss"]
    assert float(total) / count == pytest.approx(result.loss.item())


def test_nt_xent_written_out(through, views):
    first, second = np.random.default_rng(0).standard_normal((2, 4, 3))
    both = np.concatenate([first, second])
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    losses = []
    for i in range(8):
        others = [np.exp(both[i] @ both[k] / 0.2) for k in range(8) if k != i]
        losses.append(-np.log(np.exp(both[i] @ both[(i + 4) % 8] / 0.2) / sum(others)))
    tensors = [torch.tensor(view, dtype=torch.float32) for view in (first, second)]
    result = without_head(through(3), temperature=0.2)(through(3), views(*tensors))
    assert result.loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_head_is_as_published(through):
    head = SimClr(through(7), SimClrSettings()).head
    assert [type(layer).__name__ for layer in head] == ["Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert head[-1].weight.shape == (128, 2048)


@pytest.mark.parametrize("more", [0, 2])
def test_options_go_with_it(tiny, views, more):
    torch.manual_seed(0)
    plain = SimClrSettings(hidden=5, projection=3)
    options = SimClrSettings(
        hidden=5,
        projection=3,
        hard_negatives=HardNegativeSettings(mixed=4, mixed_with_query=4, start_epoch=0),
        temperatures=TemperatureSettings(individual=True),
    )
    mixed = SimClr(tiny, options, clips=8)
    mixed.load_state_dict(SimClr(tiny, plain).state_dict(), strict=False)
    batch = views()
    batch.views += [torch.randn(8, 4, 3) for _ in range(more)]
    result = mixed(tiny, batch)
    result.loss.backward()
    assert tiny.lower.weight.grad.isfinite().all() and tiny.lower.weight.grad.any()
    assert (mixed.contrast.temperatures != 0.1).all()
    assert (mixed.contrast.running_mean > 0).all()


def test_hard_negatives_make_it_harder(through, views):
    torch.manual_seed(0)
    features = torch.randn(12, 3)
    batch = views(features, features, epoch=10)
    settings = (HardNegativeSettings(), HardNegativeSettings(64, hardest=22), HardNegativeSettings(64, hardest=2))
    plain, easy, hard = (
        without_head(through(3), hard_negatives=one)(through(3), batch).loss.item() for one in settings
    )
    # 22: mixtures of all negatives alike.
    assert hard > easy + 0.5 > easy > plain


def test_cola_with_torchs_bilinear(tiny, views):
    torch.manual_seed(0)
    objective = Cola(tiny, ColaSettings(projection=3))
    batch = views()
    first, second = (objective.head(tiny(view).pooled) for view in batch.views)
    pairs = first.repeat_interleave(8, dim=0), second.repeat(8, 1)
    similar = F.bilinear(*pairs, objective.bilinear.weight[None]).view(8, 8)
    expected = -(similar.diagonal() - similar.exp().sum(1).log()).mean()
    result = objective(tiny, batch)
    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert result.metrics["contrast_accuracy"] == ((similar.argmax(1) == torch.arange(8)).sum(), 8)
    assert set(result.metrics) == set(objective.metrics)


def test_cola_head_is_as_published(through):
    objective = Cola(through(7), ColaSettings())
    assert [type(layer).__name__ for layer in objective.head] == ["Linear", "LayerNorm", "Tanh"]
    assert objective.head[0].weight.shape == (512, 7)
    assert objective.bilinear.weight.shape == (512, 512)
