"""Self-distillation: the loss in numbers, by numpy's formulas, and which way gradients go."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from speechssl.errors import UserError
from speechssl.models.backbone import BackboneOutput
from speechssl.objectives.self_distillation import SelfDistillation, SelfDistillationSettings


@pytest.fixture
def written(through):
    """Logits as the test writes them: two taps, three clusters, no heads."""

    def make(**settings: object) -> SelfDistillation:
        backbone = through(3)
        backbone.tap_dims = [3, 3]
        objective = SelfDistillation(backbone, 3, SelfDistillationSettings(**settings))
        objective.classifier = nn.Identity()
        objective.tap_heads = nn.ModuleList([nn.Identity(), nn.Identity()])
        return objective

    return make


def output_of(deepest: torch.Tensor, *taps: torch.Tensor) -> BackboneOutput:
    return BackboneOutput(deepest[:, None], list(taps), deepest)


def test_weights_of_taps_that_a_backbone_has_not_are_refused(through):
    backbone = through(3)
    backbone.tap_dims = []
    SelfDistillation(backbone, 3, SelfDistillationSettings())
    with pytest.raises(UserError, match=r"distillation\.cosine_weight is set, but this backbone has no taps"):
        SelfDistillation(backbone, 3, SelfDistillationSettings(cosine_weight=0.1))


def test_case_by_hand(through):
    # Two clusters, one clip of cluster 0. Deepest logits (ln 3, 0): probabilities 3/4, 1/4. Tap logits (0, ln 3): 1/4,
    # 3/4. CE(q, y) = ln 4/3; CE(q_1, y) = ln 4; KL = 3/4 ln 3 + 1/4 ln 1/3 = 1/2 ln 3; the logits are at right angles:
    # 2 - 2 cos = 2.
    deepest, tap = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[0.0, math.log(3)]])
    objective = SelfDistillation(through(2), 2, SelfDistillationSettings())
    objective.classifier, objective.tap_heads = nn.Identity(), nn.ModuleList([nn.Identity()])
    result = objective(output_of(deepest, tap), torch.tensor([0]))
    expected = math.log(4 / 3) + 0.7 * math.log(4) + 0.3 * 0.5 * math.log(3) + 0.003 * 2
    # 0.287682 + 0.970406 + 0.164792 + 0.006
    assert expected == pytest.approx(1.428880, rel=1e-6)
    assert result.loss.item() == pytest.approx(expected, rel=1e-6)
    assert {name: (float(total), count) for name, (total, count) in result.metrics.items()} == {
        "distillation_loss": (pytest.approx(expected, rel=1e-6), 1),
        "pseudo_label_loss": (pytest.approx(math.log(4 / 3), rel=1e-6), 1),
        "pseudo_label_accuracy": (1, 1),
        "pseudo_label_accuracy_tap1": (0, 1),
    }
    assert set(result.metrics) == set(objective.metrics)


def test_formula_over_batch_and_taps(written):
    generator = np.random.default_rng(0)
    deepest, first, second = generator.standard_normal((3, 5, 3))
    labels = np.array([0, 2, 1, 1, 0])

    def log_softmax(logits: np.ndarray) -> np.ndarray:
        return logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def cross_entropy(logits: np.ndarray) -> float:
        return -log_softmax(logits)[np.arange(5), labels].mean()

    expected = cross_entropy(deepest)
    for tap in (first, second):
        truth = log_softmax(deepest)
        divergence = (np.exp(truth) * (truth - log_softmax(tap))).sum(1).mean()
        cosine = (tap * deepest).sum(1) / np.linalg.norm(tap, axis=1) / np.linalg.norm(deepest, axis=1)
        expected += 0.6 * cross_entropy(tap) + 0.5 * divergence + 0.4 * (2 - 2 * cosine).mean()
    objective = written(tap_weight=0.6, divergence_weight=0.5, cosine_weight=0.4)
    tensors = [torch.tensor(logits, dtype=torch.float32) for logits in (deepest, first, second)]
    assert objective(output_of(*tensors), torch.tensor(labels)).loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("detach", [False, True])
def test_detached_logits_are_moved_by_their_own_loss_only(written, detach):
    torch.manual_seed(0)
    deepest, first, second = (torch.randn(4, 3, requires_grad=True) for _ in range(3))
    labels = torch.tensor([0, 1, 2, 0])
    written(detach_deepest=detach)(output_of(deepest, first, second), labels).loss.backward()
    assert first.grad.any() and second.grad.any()
    alone = deepest.detach().clone().requires_grad_()
    nn.functional.cross_entropy(alone, labels).backward()
    assert torch.allclose(deepest.grad, alone.grad, rtol=1e-5) == detach


def test_heads_are_as_published(through):
    backbone = through(2048)
    backbone.tap_dims = [2048, 1024, 512]
    objective = SelfDistillation(backbone, 10, SelfDistillationSettings())
    assert objective.classifier.weight.shape == (10, 2048)
    assert objective.classifier.bias is not None
    for head, dim in zip(objective.tap_heads, backbone.tap_dims, strict=True):
        kinds = [type(layer).__name__ for layer in head]
        assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
        linear = [layer for layer in head if isinstance(layer, nn.Linear)]
        assert [tuple(layer.weight.shape) for layer in linear] == [(10, dim), (10, 10), (10, 10)]
        assert all(layer.bias is None for layer in linear)


def test_trains_taps_and_output_under_autocast(tiny, views):
    objective = SelfDistillation(tiny, 3, SelfDistillationSettings())
    with torch.autocast("cpu", torch.bfloat16):
        loss = objective(tiny(views().views[0]), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])).loss
    assert loss.dtype == torch.float32
    loss.backward()
    for parameter in [*tiny.parameters(), *objective.parameters()]:
        assert parameter.grad is not None
