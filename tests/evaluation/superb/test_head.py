"""The weighted sum against s3prl's featurizer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from speechssl.evaluation.superb import head
from speechssl.evaluation.superb.head import WeightedHead, weighted_sum
from speechssl.s3prl_patches import guarded_s3prl

with guarded_s3prl():
    from s3prl.nn.upstream import Featurizer


@pytest.mark.parametrize("at_once", [1, 300, 1 << 22])
def test_the_weighted_sum_and_its_gradient_are_s3prl_s(at_once, monkeypatch):
    monkeypatch.setattr(head, "_AT_ONCE", at_once)
    states = torch.randn(3, 7, 4, 5)
    upstream = SimpleNamespace(num_layers=4, hidden_sizes=[5] * 4, downsample_rates=[320] * 4)
    theirs = Featurizer(upstream)
    ours = WeightedHead(4, nn.Identity())
    with torch.no_grad():
        theirs.weights.copy_(torch.randn(4))
        ours.layer_logits.copy_(theirs.weights)
    lengths = [torch.tensor([7, 7, 7])] * 4
    expected, _ = theirs(list(states.unbind(dim=2)), lengths)
    summed = weighted_sum(states, ours.layer_weights())
    torch.testing.assert_close(summed, expected)
    target = torch.randn(3, 7, 5)
    (expected * target).sum().backward()
    (summed * target).sum().backward()
    torch.testing.assert_close(ours.layer_logits.grad, theirs.weights.grad)


def test_states_in_half_precision_are_summed_in_single_precision():
    states = torch.randn(2, 3, 4, 5).half()
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4])
    summed = weighted_sum(states, weights)
    assert summed.dtype == torch.float32
    torch.testing.assert_close(summed, (states.float() * weights[:, None]).sum(dim=2))


def test_all_hidden_states_weigh_the_same_at_first_and_one_learns_nothing():
    assert WeightedHead(4, nn.Identity()).layer_weights().tolist() == [0.25] * 4
    assert not WeightedHead(1, nn.Identity()).layer_logits.requires_grad
