"""What the processes of a run remember together: the same in all of them, and free of values that are not finite."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


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
