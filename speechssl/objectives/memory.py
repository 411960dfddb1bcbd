"""What objectives remember of earlier batches: the same in all processes, and free of values that are not finite."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn import functional as F


def gathered(rows: Tensor) -> Tensor:
    """Return the rows of all processes in order of rank, without gradient; processes may have different numbers."""
    rows = rows.detach()
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return rows
    size = distributed.get_world_size()
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(size)]
    distributed.all_gather(counts, count)
    numbers = [int(number) for number in counts]
    # all_gather wants equal shapes: each process adds empty rows, which are cut off again.
    padded = torch.cat([rows, rows.new_zeros(max(numbers) - len(rows), *rows.shape[1:])])
    parts = [torch.empty_like(padded) for _ in range(size)]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:number] for part, number in zip(parts, numbers, strict=True)])


@torch.no_grad()
def write_rows(memory: Tensor, places: Tensor, rows: Tensor) -> None:
    """Overwrite `memory[places]` in place.

    Rows that are not finite leave the memory as it is: the trainer skips such an update, and a memory that had taken
    it in would spoil the ones after it.

    Args:
        memory: `(size, ...)`.
        places: `(rows,)` int64, each at most once.
        rows: `(rows, ...)`.
    """
    finite = rows.flatten(1).isfinite().all(1) if rows.ndim > 1 else rows.isfinite()
    kept = finite.view(-1, *[1] * (rows.ndim - 1))
    memory[places] = torch.where(kept, rows.to(memory.dtype), memory[places])


class KeyQueue(torch.nn.Module):
    """The newest keys, first in first out (MoCo, arXiv 1911.05722). It starts with random directions, as published.

    Args:
        size: number of keys.
        dim: their width.
    """

    keys: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def push(self, keys: Tensor) -> None:
        """Replace the oldest keys by the `(batch, dim)` keys of all processes."""
        newest = gathered(keys)[-len(self.keys) :]
        places = (self.position + torch.arange(len(newest), device=newest.device)) % len(self.keys)
        write_rows(self.keys, places, newest)
        self.position.copy_((self.position + len(newest)) % len(self.keys))
