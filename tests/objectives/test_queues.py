"""Queues by hand, and what several processes remember together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from speechssl.objectives.queues import KeyQueue
from speechssl.processes import write_rows


def test_queue_is_first_in_first_out():
    torch.manual_seed(0)
    queue = KeyQueue(size=5, dim=1)
    random = queue.keys[3:].clone()
    queue.push(torch.tensor([[1.0], [2], [3]]), torch.tensor([10, 20, 30]))
    assert queue.keys[:3].flatten().tolist() == [1, 2, 3]
    assert torch.equal(queue.keys[3:], random)
    assert queue.clips.tolist() == [10, 20, 30, -1, -1]
    queue.push(torch.tensor([[4.0], [5], [6]]), torch.tensor([40, 50, 60]))
    assert queue.keys.flatten().tolist() == [6, 2, 3, 4, 5]
    assert queue.clips.tolist() == [60, 20, 30, 40, 50]
    # More than it holds: the newest five, wherever they come to lie.
    queue.push(torch.arange(10.0, 17)[:, None], torch.arange(7))
    assert sorted(queue.keys.flatten().tolist()) == [12, 13, 14, 15, 16]


def test_a_clip_has_no_key_of_its_own_among_its_negatives():
    queue = KeyQueue(size=3, dim=1)
    queue.push(torch.tensor([[1.0], [float("nan")]]), torch.tensor([7, 8]))
    queue.push(torch.tensor([[2.0], [float("inf")]]), torch.tensor([9, 0]))
    # The key of 8 was not finite and neither was that of 0, which would have taken the place of 7.
    assert queue.clips.tolist() == [7, -1, 9]
    assert queue.of_others(torch.tensor([9, 8, 7])).tolist() == [[True, True, False], [True] * 3, [False, True, True]]


def test_queue_starts_with_directions():
    torch.testing.assert_close(KeyQueue(size=7, dim=3).keys.norm(dim=1), torch.ones(7))


def test_rows_that_are_not_finite_are_not_written():
    memory = torch.tensor([1.0, 2, 3])
    write_rows(memory, torch.tensor([2, 0]), torch.tensor([float("inf"), 9]))
    assert memory.tolist() == [9, 2, 3]


PROCESS = """
import sys
import torch
from torch import distributed
from speechssl.audio.augment import MixupExp, MixupExpSettings
from speechssl.objectives.contrastive import Contrast, HardNegativeSettings, TemperatureSettings
from speechssl.objectives.queues import KeyQueue
from speechssl.objectives.views import ViewBatch
from speechssl.processes import gathered

rank, store = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
rows = torch.arange(3.0)[:, None] if rank == 0 else torch.full((1, 1), 9.0)
assert gathered(rows).flatten().tolist() == [0, 1, 2, 9]
assert gathered(rows.long()[:, 0]).tolist() == [0, 1, 2, 9]

queue = KeyQueue(size=4, dim=1)
queue.push(rows, rows.long()[:, 0])
assert queue.keys.flatten().tolist() == [0, 1, 2, 9]
assert queue.clips.tolist() == [0, 1, 2, 9]
assert int(queue.position) == 0

mixup = MixupExp(MixupExpSettings(memory=5), 1, 1)
mixup(rows[:, None], torch.Generator().manual_seed(rank))
assert mixup.memory.flatten().tolist() == [0, 1, 2, 9, 0]
assert int(mixup.remembered) == 4

contrast = Contrast(0.5, HardNegativeSettings(), TemperatureSettings(individual=True), clips=3)
direction = torch.nn.functional.normalize(torch.tensor([[1.0, rank]]), dim=1)
batch = ViewBatch([rows, rows], torch.tensor([2 * rank]), epoch=0)
contrast(direction, direction, torch.tensor([[0.0, 1.0], [0.6, 0.8]]), batch)
own = torch.stack([contrast.running_mean, contrast.running_gradient, contrast.temperatures])
assert all(torch.equal(part, own) for part in gathered(own[None]))
assert (contrast.running_mean > 0).tolist() == [True, False, True]
distributed.barrier()
distributed.destroy_process_group()
"""


def test_two_processes_remember_the_same(tmp_path: Path):
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "store")]) for rank in range(2)
    ]
    assert [process.wait(timeout=100) for process in processes] == [0, 0]
