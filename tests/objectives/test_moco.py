"""MoCo and DeLoRes-M: losses in numbers, and what moves on from one update to the next."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from speechssl.errors import UserError
from speechssl.objectives.barlow_twins import barlow_loss, cross_correlation
from speechssl.objectives.contrastive import HardNegativeSettings, TemperatureSettings
from speechssl.objectives.moco import MoCo, MoCoSettings


def small(**settings: object) -> MoCoSettings:
    return MoCoSettings(**{"projection": 3, "hidden": 5, "queue": 16, "barlow_projector": 4} | settings)


def test_case_by_hand(through, views):
    backbone = through(2)
    objective = MoCo(backbone, MoCoSettings(projection=2, hidden=0, queue=2, temperature=0.5))
    objective.head = objective.slow.copies[1] = nn.Identity()
    objective.queue.keys.copy_(torch.tensor([[0.0, 1], [-1, 0]]))
    # The query is (1, 0), its key (3, 4) / 5: cosine 0.6; the negatives are at 0 and -1.
    result = objective(backbone, views(torch.tensor([[7.0, 0]]), torch.tensor([[3.0, 4]])))
    expected = -1.2 + math.log(math.exp(1.2) + 1 + math.exp(-2))
    assert result.loss.item() == pytest.approx(expected, rel=1e-5)
    assert result.metrics["contrast_accuracy"] == (1, 1)
    torch.testing.assert_close(objective.queue.keys, torch.tensor([[0.6, 0.8], [-1, 0]]))


def test_older_keys_of_a_clip_are_no_negatives_of_it(through, views):
    backbone = through(2)
    objective = MoCo(backbone, MoCoSettings(projection=2, hidden=0, queue=2, temperature=1.0))
    objective.head = objective.slow.copies[1] = nn.Identity()
    right, up = torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 1]])
    objective(backbone, views(right, right, clips=[3]))
    objective(backbone, views(up, up, clips=[4]))
    resumed = MoCo(backbone, MoCoSettings(projection=2, hidden=0, queue=2, temperature=1.0))
    resumed.head = resumed.slow.copies[1] = nn.Identity()
    resumed.queue.load_state_dict(objective.queue.state_dict())
    for one in (objective, resumed):
        # The queue holds right, of clip 3 itself, and up.
        loss = one(backbone, views(right, right, clips=[3])).loss.item()
        assert loss == pytest.approx(-1 + math.log(math.e + 1), rel=1e-5)


def test_a_backbone_without_taps_is_refused_for_delores_m(tiny):
    tiny.tap_dims = []
    with pytest.raises(UserError, match=r"barlow_taps=true, but this backbone has no taps: give model\.vit_layers=2"):
        MoCo(tiny, small(barlow_taps=True))


def test_only_the_query_is_trained(tiny, views):
    objective = MoCo(tiny, small(barlow_taps=True))
    batch = views()
    for view in batch.views:
        view.requires_grad_()
    objective(tiny, batch).loss.backward()
    assert batch.views[0].grad.any()
    assert batch.views[1].grad is None
    assert all(parameter.grad is None for parameter in objective.slow.parameters())
    assert all(parameter.grad is not None for parameter in objective.parameters() if parameter.requires_grad)


def test_barlow_term_on_the_taps(tiny, views):
    torch.manual_seed(0)
    objective = MoCo(tiny, small(barlow_taps=True, barlow_weight=0.1, barlow_off_diagonal=0.5))
    batch = views()
    result = objective(tiny, batch)
    taps = [tiny(view).taps[0] for view in batch.views]
    projected = [objective.tap_projectors[0](tap) for tap in taps]
    expected = barlow_loss(cross_correlation(*projected), 0.5).item()
    contrast, barlow = (float(result.metrics[name][0]) / 8 for name in ("contrast_loss", "barlow_loss"))
    assert barlow == pytest.approx(expected, rel=1e-4)
    assert result.loss.item() == pytest.approx(contrast + 0.1 * barlow, rel=1e-5)
    assert set(result.metrics) == set(objective.metrics)


def test_heads_are_as_published(through):
    head = MoCo(through(8), MoCoSettings(queue=4)).head
    assert [type(layer).__name__ for layer in head] == ["Linear", "ReLU", "Linear"]
    assert head[-1].weight.shape == (128, 2048)
    assert [layer.weight.shape for layer in MoCo(through(8), MoCoSettings(hidden=0, queue=4)).head] == [(128, 8)]


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_resumes_bit_for_bit_with_all_options(tiny, views, cut):
    settings = small(
        barlow_taps=True,
        hard_negatives=HardNegativeSettings(mixed=4, mixed_with_query=2, hardest=6, start_epoch=1),
        temperatures=TemperatureSettings(individual=True),
    )
    objective = MoCo(tiny, settings, clips=8)
    optimizer = torch.optim.SGD([*tiny.parameters(), *objective.parameters()], lr=0.1)

    def update(backbone, objective, optimizer, step):
        optimizer.zero_grad()
        loss = objective(backbone, views(epoch=step // 2, seed=step)).loss
        loss.backward()
        optimizer.step()
        return loss

    for step in range(cut):
        update(tiny, objective, optimizer, step)
    backbone, resumed = copy.deepcopy(tiny), MoCo(tiny, settings, clips=8)
    resumed.load_state_dict(objective.state_dict())
    random_state = torch.get_rng_state()
    expected = [update(tiny, objective, optimizer, step) for step in range(cut, 4)]
    torch.set_rng_state(random_state)
    optimizer = torch.optim.SGD([*backbone.parameters(), *resumed.parameters()], lr=0.1)
    assert [update(backbone, resumed, optimizer, step) for step in range(cut, 4)] == expected
    for name, value in objective.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_evaluation_changes_nothing(tiny, views):
    objective = MoCo(tiny, small(temperatures=TemperatureSettings(individual=True)), clips=8)
    objective(tiny, views())
    objective.eval()
    before = copy.deepcopy(objective.state_dict())
    objective(tiny, views(clips=[90, 91, 92]))
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
