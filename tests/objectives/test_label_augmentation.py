"""Label augmentation: the loss in numbers, by numpy's formulas, and which way gradients go."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from speechssl.audio.transformations import Transformation, transform
from speechssl.errors import UserError
from speechssl.objectives.label_augmentation import LabelAugmentation, LabelAugmentationSettings

ALL = [Transformation.backwards, Transformation.slower, Transformation.faster]


def written(classes: int, kinds: list[Transformation], beta: float = 1.0) -> LabelAugmentation:
    """Joint logits as the test writes them: what is pooled are the logits."""
    objective = LabelAugmentation(3, classes, LabelAugmentationSettings(kinds, beta))
    objective.joint = nn.Identity()
    return objective


def test_case_by_hand() -> None:
    # Two classes, two views, one clip of class 0. Joint logits are in the order (class 0, view 0), (0, 1), (1, 0),
    # (1, 1). As it is: (ln 9, 0, 0, 0), so (0, view 0) has 9/12. Backwards: (ln 2, 0, 0, 0), so (0, view 1) has 1/5.
    # Aggregate of class 0: (ln 9 + 0) / 2 = ln 3, of class 1: 0, so 3/4 and 1/4. The head that predicts has (0, 0).
    pooled = torch.tensor([[math.log(9), 0.0, 0.0, 0.0], [math.log(2), 0.0, 0.0, 0.0]])
    result = written(2, [Transformation.backwards], beta=0.5)(pooled, torch.zeros(1, 2), torch.tensor([0]))
    joint = (math.log(4 / 3) + math.log(5)) / 2
    expected = joint + (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) + 0.5 * math.log(2)
    # 0.948560 + 0.130812 + 0.346574
    assert expected == pytest.approx(1.425946, rel=1e-6)
    assert result.loss.item() == pytest.approx(expected, rel=1e-6)
    assert {name: (float(total), count) for name, (total, count) in result.metrics.items()} == {
        "joint_loss": (pytest.approx(joint, rel=1e-6), 1),
        "aggregate_accuracy": (1, 1),
    }
    assert set(result.metrics) == set(LabelAugmentation.metrics)


def test_formula_over_a_batch_of_all_views() -> None:
    generator = np.random.default_rng(0)
    labels, classes, views = np.array([2, 0, 1, 1, 2]), 3, 4
    logits, single = generator.standard_normal((views, 5, classes, views)), generator.standard_normal((5, classes))

    def log_softmax(values: np.ndarray) -> np.ndarray:
        return values - np.log(np.exp(values).sum(-1, keepdims=True))

    joint = log_softmax(logits.reshape(views, 5, -1)).reshape(logits.shape)
    expected = -np.mean([joint[view, clip, labels[clip], view] for view in range(views) for clip in range(5)])
    aggregate = log_softmax(np.mean([logits[view, :, :, view] for view in range(views)], axis=0))
    learnt = log_softmax(single)
    expected += (np.exp(aggregate) * (aggregate - learnt)).sum(1).mean() - 0.3 * learnt[np.arange(5), labels].mean()
    pooled = torch.tensor(logits.reshape(views * 5, -1), dtype=torch.float32)
    result = written(classes, ALL, beta=0.3)(pooled, torch.tensor(single, dtype=torch.float32), torch.tensor(labels))
    assert result.loss.item() == pytest.approx(expected, rel=1e-5)
    assert int(result.metrics["aggregate_accuracy"][0]) == (aggregate.argmax(1) == labels).sum()


def test_the_aggregate_teaches_and_is_not_taught() -> None:
    torch.manual_seed(0)
    pooled, single = torch.randn(8, 6, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 0])
    written(3, [Transformation.faster], beta=0.0)(pooled, single, labels).loss.backward()
    alone = pooled.detach().clone().requires_grad_()
    nn.functional.cross_entropy(alone, torch.cat([2 * labels, 2 * labels + 1])).backward()
    torch.testing.assert_close(pooled.grad, alone.grad)
    assert single.grad.any(dim=1).all()


def test_views_come_one_after_the_other_first_the_clips_as_they_are() -> None:
    clips = torch.randn(3, 400)
    objective = LabelAugmentation(5, 7, LabelAugmentationSettings(ALL))
    seen = objective.see(clips).view(4, 3, 400)
    assert torch.equal(seen[0], clips)
    for view, kind in zip(seen[1:], ALL, strict=True):
        torch.testing.assert_close(view, transform(clips, kind))
    assert objective.joint.weight.shape == (28, 5)


def test_settings_that_cannot_be_are_refused() -> None:
    for given, message in (
        ({"transformations": [ALL[0], ALL[0]]}, "name each once"),
        ({"transformations": ALL, "beta": -1.0}, "sla.beta=-1.0 must be 0 or more"),
        ({"beta": 0.0}, "sla.transformations is not, so it is not read"),
    ):
        with pytest.raises(UserError, match=message):
            LabelAugmentationSettings(**given).check("sla")
