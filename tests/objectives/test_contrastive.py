"""The contrast and its options, in numbers and against autograd of the functions that they estimate."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from speechssl.errors import UserError
from speechssl.objectives.contrastive import Contrast, HardNegativeSettings, TemperatureSettings

RIGHT, UP, LEFT = [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]


def contrast(temperature: float = 1.0, clips: int = 4, mochi: Any = None, **temperatures: Any) -> Contrast:
    options = TemperatureSettings(individual=bool(temperatures), **temperatures)
    return Contrast(temperature, HardNegativeSettings(**(mochi or {})), options, clips)


def directions(*shape: int) -> Tensor:
    return F.normalize(torch.randn(*shape), dim=1)


def test_case_by_hand(views):
    # Similarities 1 to the key, 0 and -1 to the negatives: -ln(e / (e + 1 + 1/e)) = 0.407606.
    batch = views(clips=[0])
    result = contrast()(torch.tensor([RIGHT]), torch.tensor([RIGHT]), torch.tensor([UP, LEFT]), batch)
    assert result.loss.item() == pytest.approx(0.407606, rel=1e-5)
    assert result.correct == 1
    # At half the temperature, and without the first negative: -ln(e^2 / (e^2 + e^-2)) = 0.018150.
    allowed = torch.tensor([[False, True]])
    result = contrast(0.5)(torch.tensor([RIGHT]), torch.tensor([RIGHT]), torch.tensor([UP, LEFT]), batch, allowed)
    assert result.loss.item() == pytest.approx(0.018150, rel=1e-4)


def test_a_nearer_negative_is_an_error(views):
    queries = torch.tensor([RIGHT, UP])
    result = contrast()(queries, torch.tensor([RIGHT, RIGHT]), torch.tensor([UP]), views(clips=[0, 1]))
    assert result.correct == 1


def test_mixtures_by_hand(views, monkeypatch):
    # All shares are 1/2: the mixture of the hardest negative (up) with itself is up; that with a quarter of the query
    # is (0.25, 0.75) with length 1, at cosine 0.25 / sqrt(0.625) = 0.316228 from the query.
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 0.5))
    mochi = {"mixed": 2, "mixed_with_query": 1, "hardest": 1, "start_epoch": 3}
    objective = contrast(mochi=mochi)
    arguments = torch.tensor([RIGHT]), torch.tensor([RIGHT]), torch.tensor([LEFT, UP])
    result = objective(*arguments, views(clips=[0], epoch=3))
    assert result.loss.item() == pytest.approx(
        -1 + math.log(math.e + 1 / math.e + 1 + 2 + math.exp(0.316228)), rel=1e-5
    )
    plain = pytest.approx(0.407606, rel=1e-5)
    assert objective(*arguments, views(clips=[0], epoch=2)).loss.item() == plain
    assert objective.eval()(*arguments, views(clips=[0], epoch=3)).loss.item() == plain


def test_mixtures_are_of_allowed_negatives_and_get_no_gradient(views):
    torch.manual_seed(0)
    negatives = torch.tensor([RIGHT, UP]).requires_grad_()
    queries = torch.tensor([RIGHT]).requires_grad_()
    # Only up may be mixed: right, which is nearer, is the query itself.
    allowed = torch.tensor([[False, True]])
    objective = contrast(mochi={"mixed": 3, "hardest": 5, "start_epoch": 0})
    loss = objective(queries, torch.tensor([RIGHT]), negatives, views(clips=[0]), allowed).loss
    assert loss.item() == pytest.approx(-1 + math.log(math.e + 4), rel=1e-5)
    loss.backward()
    # The weight of the one real negative: 1 / (e + 4), times the query.
    torch.testing.assert_close(negatives.grad, torch.tensor([[0.0, 0], [1 / (math.e + 4), 0]]))


def test_mixtures_where_one_query_has_fewer_negatives(views):
    torch.manual_seed(0)
    # Both have up; left, the first one's only, would make some mixtures differ from up.
    negatives, queries = torch.tensor([UP, LEFT]), torch.tensor([RIGHT, RIGHT])
    allowed = torch.tensor([[True, True], [True, False]])
    objective = contrast(mochi={"mixed": 3, "hardest": 5, "start_epoch": 0})
    loss = objective(queries, queries, negatives, views(clips=[0, 1]), allowed).loss.item()
    first, second = math.log(math.e + 4 + 1 / math.e) - 1, math.log(math.e + 4) - 1
    assert loss == pytest.approx((first + second) / 2, rel=1e-5)


def test_individual_temperatures_take_the_gradient_of_their_objective(views):
    torch.manual_seed(0)
    objective = contrast(0.2, rho=0.3, lr=0.1, newest_gradient=1.0)
    start, keys, negatives = directions(3, 5), directions(3, 5), directions(7, 5)
    queries, expected_queries = start.clone().requires_grad_(), start.clone().requires_grad_()
    temperatures = torch.full((3,), 0.2, requires_grad=True)
    similar = expected_queries @ negatives.T
    spread = temperatures * (similar / temperatures[:, None]).exp().mean(1).log()
    (spread - (expected_queries * keys).sum(1)).mean().backward(retain_graph=True)
    temperature_gradient = torch.autograd.grad((spread + 0.3 * temperatures).sum(), temperatures)[0]

    objective(queries, keys, negatives, views(clips=[2, 0, 3])).loss.backward()
    torch.testing.assert_close(queries.grad, expected_queries.grad, rtol=1e-4, atol=1e-6)
    expected = torch.full((4,), 0.2)
    expected[[2, 0, 3]] -= 0.1 * temperature_gradient
    torch.testing.assert_close(objective.temperatures, expected)


def test_running_means_by_hand(views):
    # One negative at cosine 0, then at 1: exp(0 / 0.5) = 1, then exp(1 / T).
    objective = contrast(0.5, rho=0.0, lr=0.1, newest=0.8, newest_gradient=0.5)
    query, batch = torch.tensor([RIGHT]), views(clips=[1])
    objective(query, query, torch.tensor([UP]), batch)
    # s = 1; the gradient is ln 1 + 0 - 1 * 0 = 0: the temperature stays.
    assert objective.running_mean.tolist() == [0, 1, 0, 0]
    assert objective.temperatures[1] == 0.5
    loss = objective(query, query, torch.tensor([RIGHT]), batch).loss.item()
    # s = 0.2 * 1 + 0.8 e^2; w = e^2 / s; the gradient is ln s - 2 w; half of it counts.
    mean = 0.2 + 0.8 * math.exp(2)
    weight = math.exp(2) / mean
    assert loss == pytest.approx(weight * 1 - 1, rel=1e-5)
    assert objective.running_mean[1].item() == pytest.approx(mean, rel=1e-6)
    assert objective.temperatures[1].item() == pytest.approx(0.5 - 0.1 * (math.log(mean) - 2 * weight) / 2, rel=1e-6)
    assert objective.temperatures[[0, 2, 3]].tolist() == [0.5] * 3


def test_two_views_of_a_clip_move_it_once(views):
    objective = contrast(0.5, newest_gradient=1.0)
    queries = torch.tensor([RIGHT, UP])
    objective(queries, queries, torch.tensor([UP]), views(clips=[1]))
    # exp(0 / 0.5) for the first view and exp(1 / 0.5) for the second.
    assert objective.running_mean.tolist() == pytest.approx([0, (1 + math.exp(2)) / 2, 0, 0], rel=1e-6)


def test_temperatures_keep_within_their_limits(views):
    torch.manual_seed(0)
    batch = views(clips=[0, 1])
    for rho, limit in ((9.0, 0.05), (-9.0, 0.7)):
        objective = contrast(0.07, rho=rho, lr=1.0)
        objective(directions(2, 3), directions(2, 3), directions(5, 3), batch)
        assert objective.temperatures[:2].tolist() == pytest.approx([limit, limit])


def test_individual_temperatures_leave_out_what_is_not_allowed(views):
    queries = torch.tensor([RIGHT]).requires_grad_()
    objective = contrast(0.5, rho=0.3)
    allowed = torch.tensor([[False, True]])
    result = objective(queries, torch.tensor([UP]), torch.tensor([RIGHT, LEFT]), views(clips=[0]), allowed)
    assert objective.running_mean[0].item() == pytest.approx(math.exp(-2), rel=1e-6)
    result.loss.backward()
    assert queries.grad.isfinite().all()


def test_a_query_without_a_negative_learns_from_its_key(views):
    queries = F.normalize(torch.tensor([RIGHT, RIGHT]), dim=1).requires_grad_()
    objective = contrast(0.5, rho=0.3)
    allowed = torch.tensor([[False, False], [False, True]])
    keys, negatives = torch.tensor([UP, UP]), torch.tensor([RIGHT, LEFT])
    result = objective(queries, keys, negatives, views(clips=[0, 1]), allowed)
    result.loss.backward()
    assert result.loss.isfinite() and queries.grad.isfinite().all() and queries.grad[0].any()
    assert objective.running_mean[0] == 0 and objective.temperatures[0].item() == pytest.approx(0.5)


def test_validation_has_one_temperature_and_moves_none(views):
    objective = contrast(1.0, rho=0.3).eval()
    batch = views(clips=[50])
    result = objective(torch.tensor([RIGHT]), torch.tensor([RIGHT]), torch.tensor([UP, LEFT]), batch)
    assert result.loss.item() == pytest.approx(0.407606, rel=1e-5)
    assert objective.running_mean.sum() == 0


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=r"^a\.mixed=-1 must be 0 or more"):
        HardNegativeSettings(mixed=-1).check("a")
    with pytest.raises(UserError, match=r"^a\.smallest=0\.5 must be at most 0\.1"):
        TemperatureSettings(smallest=0.5, largest=0.1).check("a")
    with pytest.raises(UserError, match=r"^a\.newest=0 must be more than 0"):
        TemperatureSettings(newest=0).check("a")
    for rho in (0.0, float("inf")):
        with pytest.raises(UserError, match=rf"^a\.rho={rho} must be more than 0"):
            TemperatureSettings(individual=True, rho=rho).check("a")
