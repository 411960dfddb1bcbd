"""Training a head: it goes on where it was killed, and a seed decides it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl.errors import UserError
from speechssl.evaluation.superb import scores, training
from speechssl.evaluation.superb.data import TaskData, read_task
from speechssl.evaluation.superb.problems.classification import Classification
from speechssl.evaluation.superb.problems.transcription import SpeechRecognition
from speechssl.evaluation.superb.states import FreshStates
from speechssl.evaluation.superb.store import StoredStates
from speechssl.evaluation.superb.training import Part, Plan, Trained, predict, train_head
from speechssl.s3prl_patches import guarded_s3prl

CPU = torch.device("cpu")
PLAN = Plan(lr=1e-2, seed=1, steps=24, batch_size=5, check_every=4, device=CPU)
LAYERS, DIM = 3, 8


class FixedStates:
    """States made of the labels and noise."""

    def __init__(self, utterances, pooled: bool) -> None:
        self.frames = np.array([1 if pooled else 12 + 3 * (row % 3) for row in range(len(utterances))])
        self._states = []
        for row, utterance in enumerate(utterances):
            generator = torch.Generator().manual_seed(int(utterance.name.strip("abcdefghijklmnopqrstuvwxyz")))
            noise = torch.randn(int(self.frames[row]), LAYERS, DIM, generator=generator)
            noise[:, 1, "abc".index(utterance.labels["label"])] += 3
            self._states.append(noise.half())

    def batch(self, rows):
        pieces = [self._states[row] for row in rows]
        return torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True), torch.tensor(self.frames[list(rows)])

    batches = StoredStates.batches


def parts_of(data: TaskData, pooled: bool) -> dict[str, Part]:
    return {name: Part(part, FixedStates(part, pooled)) for name, part in data.parts.items()}


def trained(task_dir: Path, saved: Path, plan: Plan = PLAN, speech: bool = False) -> Trained:
    data = read_task(task_dir, ["label", "transcription"])
    problem = SpeechRecognition(data, ["transcription"], width=32) if speech else Classification(data, ["label"])
    parts = parts_of(data, problem.pooled)
    return train_head(problem, parts["train"], parts["valid"], (LAYERS, DIM), plan, saved)


def test_a_head_learns_and_weighs_the_layer_that_tells(task_dir, tmp_path):
    best = trained(task_dir, tmp_path / "a.pt", replace(PLAN, steps=200, check_every=50))
    assert best.valid["accuracy"] == 1.0
    assert best.head.layer_weights().argmax() == 1


@pytest.mark.parametrize("speech", [False, True])
def test_a_killed_training_ends_as_one_never_killed(task_dir, tmp_path, monkeypatch, speech):
    """The recurrent head draws dropout and SpecAugment, so its random state counts."""
    plan = replace(PLAN, steps=6, check_every=2)
    whole = trained(task_dir, tmp_path / "whole.pt", plan, speech)
    update = training._Run.update

    def killed(self, *given):
        if self.step == 5:
            raise KeyboardInterrupt
        update(self, *given)

    monkeypatch.setattr(training._Run, "update", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(task_dir, tmp_path / "killed.pt", plan, speech)
    monkeypatch.undo()
    again = trained(task_dir, tmp_path / "killed.pt", plan, speech)
    ours, theirs = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("killed", "whole"))
    for name, weight in theirs["head"].items():
        assert torch.equal(ours["head"][name], weight), name
    assert again.step == whole.step and again.valid == whole.valid


@pytest.mark.parametrize("passes", [1, 2])
def test_reading_ahead_changes_no_weight(task_dir, tmp_path, monkeypatch, passes):
    plan = replace(PLAN, steps=9, check_every=4, passes=passes)
    ahead = trained(task_dir, tmp_path / "ahead.pt", plan, speech=True)
    monkeypatch.setattr(FixedStates, "batches", FreshStates.batches)
    in_turn = trained(task_dir, tmp_path / "turn.pt", plan, speech=True)
    assert ahead.valid == in_turn.valid
    for one, other in zip(ahead.head.parameters(), in_turn.head.parameters(), strict=True):
        assert torch.equal(one, other)


def test_nothing_is_read_ahead_for_training_during_a_look(task_dir, tmp_path, monkeypatch):
    read, looks, batch, look = [], [], FixedStates.batch, training._Run.look

    def counted(self, valid):
        looks.append((self.step, len(read)))
        look(self, valid)
        read.clear()

    monkeypatch.setattr(FixedStates, "batch", lambda self, rows: (read.append(rows), batch(self, rows))[1])
    monkeypatch.setattr(training._Run, "look", counted)
    trained(task_dir, tmp_path / "a.pt", replace(PLAN, steps=10, check_every=4))
    assert looks == [(4, 4), (8, 4), (10, 2)]


def test_a_finished_training_is_not_trained_again(task_dir, tmp_path, monkeypatch):
    first = trained(task_dir, tmp_path / "a.pt")
    monkeypatch.setattr(training._Run, "update", lambda *given: pytest.fail("trained again"))
    assert trained(task_dir, tmp_path / "a.pt").valid == first.valid


def test_the_seed_decides_and_other_random_numbers_are_left_alone(task_dir, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one = trained(task_dir, tmp_path / "a.pt")
    assert torch.equal(torch.rand(1), expected)
    same = trained(task_dir, tmp_path / "b.pt")
    other = trained(task_dir, tmp_path / "c.pt", replace(PLAN, seed=2))
    weights = [run.head.head.final_proj.weight for run in (one, same, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_an_epoch_has_every_utterance_once_in_batches_of_similar_length():
    frames = np.arange(103) % 40
    batches = training._epoch(frames, None, replace(PLAN, batch_size=10), 0)
    assert sorted(row for batch in batches for row in batch) == list(range(103))
    assert max(np.ptp(frames[batch]) for batch in batches) < 10
    assert batches != training._epoch(frames, None, replace(PLAN, batch_size=10), 1)


def test_updates_without_a_finite_gradient_are_counted_and_end_the_run(task_dir, tmp_path, monkeypatch):
    loss = Classification.loss
    monkeypatch.setattr(Classification, "loss", lambda self, *given: loss(self, *given) * float("nan"))
    with pytest.raises(UserError, match="no update until step 4 had a finite gradient"):
        trained(task_dir, tmp_path / "a.pt")


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_not_finite_is_the_worst(task_dir, tmp_path, monkeypatch, broken):
    """The first look, and a whole learning rate."""
    values = [broken, 0.25, 0.5, broken, 0.5]
    given = iter(values)
    monkeypatch.setattr(Classification, "validation_scores", lambda *_: {"accuracy": next(given)})
    best = trained(task_dir, tmp_path / "a.pt", replace(PLAN, steps=20))
    assert best.step == 12 and best.valid == {"accuracy": 0.5}
    problem = Classification(read_task(task_dir, ["label"]), ["label"])
    spoiled = replace(best, valid={"accuracy": broken})
    assert scores._best(problem, {0.1: spoiled, 0.01: best}) == 0.01


def test_predictions_stand_in_the_order_of_the_utterances(task_dir, tmp_path):
    data = read_task(task_dir, ["label"])
    problem = Classification(data, ["label"])
    parts = parts_of(data, False)
    best = train_head(problem, parts["train"], parts["valid"], (LAYERS, DIM), replace(PLAN, steps=200), tmp_path / "a")
    one_by_one = predict(problem.predict, best.head, parts["test"], 1, CPU)
    assert predict(problem.predict, best.head, parts["test"], 4, CPU) == one_by_one
    assert problem.scores(one_by_one, parts["test"].utterances)["accuracy"] == 1.0


def test_balanced_training_draws_all_classes_equally_often(task_dir):
    data = read_task(task_dir, ["label"])
    kept = [item for item in data.parts["train"] if item.labels["label"] != "c"] * 5
    kept += [item for item in data.parts["train"] if item.labels["label"] == "c"][:2]
    part = Part(kept, FixedStates(kept, True), balanced="label")
    drawn = [
        kept[row].labels["label"]
        for epoch in range(20)
        for rows in training._epoch(part.states.frames, part.probabilities(), PLAN, epoch)
        for row in rows
    ]
    assert len(drawn) == 20 * len(kept)
    for label in "abc":
        assert drawn.count(label) / len(drawn) == pytest.approx(1 / 3, abs=0.04)


def test_the_learning_rate_is_s3prl_s():
    with guarded_s3prl():
        from s3prl.schedulers import get_sqrt_decay_schedule_with_warmup
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = get_sqrt_decay_schedule_with_warmup(optimizer, 5, 20)
    plan = replace(PLAN, lr=0.5, warmup=5)
    for step in range(20):
        assert plan.rate(step) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert PLAN.rate(0) == PLAN.rate(1000) == PLAN.lr


def test_a_batch_in_parts_has_the_gradient_of_the_whole(task_dir, tmp_path):
    """Parts of 5 and 4 utterances."""
    plan = replace(PLAN, steps=1, batch_size=9, clip=1e9)
    whole, parts = (trained(task_dir, tmp_path / str(passes), replace(plan, passes=passes)) for passes in (1, 2))
    for one, other in zip(whole.head.parameters(), parts.head.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
