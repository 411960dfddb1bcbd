from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from speechssl.errors import UserError
from speechssl.evaluation.hear.heads import (
    Examples,
    HeadOptions,
    Judged,
    Point,
    grid,
    logits_of,
    new_head,
    probabilities,
    train_head,
)

CPU = torch.device("cpu")
OPTIONS = HeadOptions(
    multilabel=False, hidden_dim=8, dropout=0.1, batch_size=16, epochs=20, check_every=2, patience=3, device=CPU
)
POINT = Point(1, 1e-2)


def blobs(examples: int = 49) -> Examples:
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(examples) % 3
    features = torch.eye(5)[labels] * 3 + torch.randn(examples, 5, generator=generator)
    return Examples(features, torch.arange(examples), torch.eye(3)[labels])


def accuracy(head: nn.Module, examples: Examples) -> float:
    found = logits_of(head, examples.features, examples.rows, CPU).argmax(dim=1)
    return float((found == examples.targets.argmax(dim=1)).float().mean())


def judging(*values: float):
    """Give these values in turn, whatever the network."""
    turn = iter(values)
    return lambda head: Judged(next(turn), None)


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("multilabel", [False, True])
def test_a_network_learns(layers: int, multilabel: bool) -> None:
    examples = blobs()
    options = dataclasses.replace(OPTIONS, multilabel=multilabel)
    trained = train_head(examples, Point(layers, 3e-2), 1, options, lambda head: Judged(accuracy(head, examples), None))
    assert trained.judged.value == accuracy(trained.head, examples) > 0.85


def test_probabilities_of_classes_that_exclude_each_other_sum_to_one() -> None:
    logits = torch.tensor([[0.0, 0.0], [2.0, -2.0]])
    assert probabilities(logits, multilabel=False).sum(axis=1) == pytest.approx([1, 1])
    assert probabilities(logits, multilabel=True)[0] == pytest.approx([0.5, 0.5])


def test_the_best_look_is_kept_and_training_ends_when_patience_does() -> None:
    """Looks at epochs 2, 4, 6 ...; the second is best, and the first of two equals counts."""
    trained = train_head(blobs(), POINT, 1, OPTIONS, judging(0.1, 0.5, 0.5, 0.4, 0.2))
    assert (trained.epoch, trained.judged.value) == (4, 0.5)


def test_the_last_epoch_is_looked_at() -> None:
    options = dataclasses.replace(OPTIONS, epochs=3, check_every=10)
    assert train_head(blobs(), POINT, 1, options, judging(0.3)).epoch == 3


def test_the_network_that_is_kept_is_the_one_that_was_looked_at() -> None:
    seen: list[dict[str, torch.Tensor]] = []

    def judge(head: nn.Module) -> Judged[None]:
        seen.append({name: value.clone() for name, value in head.state_dict().items()})
        return Judged(1.0 if len(seen) == 2 else 0.0, None)

    trained = train_head(blobs(), POINT, 1, OPTIONS, judge)
    assert len(seen) == 5
    for name, value in trained.head.state_dict().items():
        assert torch.equal(value, seen[1][name])
    assert not torch.equal(seen[1]["0.weight"], seen[2]["0.weight"])


def test_a_seed_gives_one_network_and_leaves_torchs_random_state() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    heads = [train_head(blobs(), POINT, seed, OPTIONS, judging(*range(20))).head for seed in (1, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    weights = [head[0].weight for head in heads]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_one_example_at_the_end_of_an_epoch_is_learnt_from() -> None:
    """Batch normalisation cannot take it alone."""
    train_head(blobs(33), POINT, 1, OPTIONS, judging(*range(20)))
    with pytest.raises(UserError, match="one example, which is too few"):
        train_head(blobs(1), POINT, 1, OPTIONS, judging(1))


def test_the_grid_has_every_pair() -> None:
    assert grid([1, 2], [0.1, 0.01]) == [Point(1, 0.1), Point(1, 0.01), Point(2, 0.1), Point(2, 0.01)]


def test_dropout_is_for_learning_only() -> None:
    torch.manual_seed(1)
    head = new_head(5, 3, Point(2, 0.1), dataclasses.replace(OPTIONS, dropout=0.9))
    first, second = (logits_of(head, blobs().features, torch.arange(4), CPU) for _ in range(2))
    assert torch.equal(first, second) and not head.training
