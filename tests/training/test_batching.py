"""Updates hold every utterance once and do not depend on the number of processes."""

from __future__ import annotations

import numpy as np
import pytest

from speechssl.errors import UserError
from speechssl.training.batching import UpdatePlanner


def planner(processes: int = 1, batch_seconds: float = 40, seed: int = 0, utterances: int = 300) -> UpdatePlanner:
    samples = np.random.default_rng(1).integers(8_000, 160_000, utterances)
    return UpdatePlanner(
        samples,
        update_samples=60 * 16_000,
        batch_samples=int(batch_seconds * 16_000),
        bucket_updates=4,
        processes=processes,
        seed=seed,
    )


def test_every_utterance_once_in_every_epoch():
    for epoch in (0, 1):
        members = np.concatenate(planner().epoch(epoch))
        assert sorted(members) == list(range(300))
    assert not np.array_equal(planner().epoch(0)[0], planner().epoch(1)[0])
    assert sorted(np.concatenate(planner().in_order())) == list(range(300))


def test_updates_are_near_the_stated_total():
    plan = planner()
    totals = [plan.samples[update].sum() / 16_000 for update in plan.epoch(0)]
    assert min(totals) > 40 and max(totals) < 80
    assert np.mean(totals) == pytest.approx(60, rel=0.1)


def test_fewer_utterances_than_processes_is_one_clear_line():
    with pytest.raises(UserError, match="a split of 5 utterances has fewer than the 8 processes"):
        plan = planner(processes=8, utterances=5)
        plan.batches(plan.in_order()[0])


def test_an_update_of_a_later_epoch_that_cannot_be_split_is_told_before_training():
    samples = np.where(np.random.default_rng(1).random(1500) < 0.45, 249_600, 64_000)
    plan = UpdatePlanner(samples, 120 * 16_000, 88 * 16_000, bucket_updates=1, processes=8, seed=5)
    for update in plan.epoch(0):
        plan.batches(update)
    with pytest.raises(UserError, match="cannot be split over 8 processes"):
        plan.check()


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_batches_fit_and_share_the_work(processes):
    plan = planner(processes)
    for update, alone in zip(plan.epoch(3), planner(1).epoch(3), strict=True):
        np.testing.assert_array_equal(update, alone)
        groups = plan.batches(update)
        assert len(groups) % processes == 0
        assert sorted(np.concatenate(groups)) == sorted(update)
        assert max(len(group) * plan.samples[group].max() for group in groups) <= plan.batch_samples


def test_an_odd_number_of_long_utterances_is_split():
    # Three utterances, two processes, batches that hold two of the shorter ones but not the two longest.
    samples = np.array([160_000, 150_000, 120_000])
    plan = UpdatePlanner(samples, 600_000, 300_000, bucket_updates=1, processes=2, seed=0)
    assert [group.tolist() for group in plan.batches(np.arange(3))] == [[0], [1, 2]]


def test_sorting_saves_padding():
    plan = planner(batch_seconds=1000)
    groups = [group for update in plan.epoch(0) for group in plan.batches(update)]
    padded = sum(len(group) * plan.samples[group].max() for group in groups)
    assert padded < 1.35 * plan.samples.sum()


def test_what_cannot_be_split_is_named():
    with pytest.raises(UserError, match="does not fit in a batch"):
        planner(batch_seconds=5).batches(np.arange(40))
    with pytest.raises(UserError, match="over 4 processes"):
        planner(processes=4).batches(np.arange(3))
