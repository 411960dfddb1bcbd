"""Queues by hand, and what several processes write together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from speechssl.objectives.memory import KeyQueue, write_rows


def test_queue_is_first_in_first_out():
    torch.manual_seed(0)
    queue = KeyQueue(size=5, dim=1)
    random = queue.keys[3:].clone()
    queue.push(torch.tensor([[1.0], [2], [3]]))
    assert queue.keys[:3].flatten().tolist() == [1, 2, 3]
    assert torch.equal(queue.keys[3:], random)
    queue.push(torch.tensor([[4.0], [5], [6]]))
    assert queue.keys.flatten().tolist() == [6, 2, 3, 4, 5]
    # More than it holds: the newest five, wherever they come to lie.
    queue.push(torch.arange(10.0, 17)[:, None])
    assert sorted(queue.keys.flatten().tolist()) == [12, 13, 14, 15, 16]


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
from speechssl.objectives.memory import KeyQueue, gathered

rank, store = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
rows = torch.arange(3.0)[:, None] if rank == 0 else torch.full((1, 1), 9.0)
assert gathered(rows).flatten().tolist() == [0, 1, 2, 9]
assert gathered(rows.long()[:, 0]).tolist() == [0, 1, 2, 9]
queue = KeyQueue(size=4, dim=1)
queue.push(rows)
assert queue.keys.flatten().tolist() == [0, 1, 2, 9]
assert int(queue.position) == 0
distributed.barrier()
distributed.destroy_process_group()
"""


def test_two_processes_remember_the_same(tmp_path: Path):
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), str(tmp_path / "store")]) for rank in range(2)
    ]
    assert [process.wait(timeout=100) for process in processes] == [0, 0]
