"""The processes of one run: the few collectives that fitting and labelling need."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from torch import Tensor, distributed
from torch.distributed.rendezvous import rendezvous

_PATIENCE = timedelta(days=1)
"""How long a process waits for the others, which read other audio. The launcher ends all of them if one fails."""

_MEETINGS = itertools.count()


@dataclass(frozen=True)
class Processes:
    """This process among those that `torchrun` started; alone by default."""

    rank: int = 0
    """Number of this process."""
    size: int = 1
    """Number of processes."""

    @property
    def first(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    def share(self, items: int) -> range:
        """Return this process's contiguous share of `items` things."""
        return range(items * self.rank // self.size, items * (self.rank + 1) // self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of `tensor` over all processes, on its own device."""
        if self.size == 1:
            return tensor
        total = tensor.cpu().clone()
        distributed.all_reduce(total)
        return total.to(tensor.device)

    def gather(self, item: Any) -> list[Any]:
        """Return the items of all processes in order of rank; empty but in the first process."""
        if self.size == 1:
            return [item]
        items = [None] * self.size if self.first else None
        distributed.gather_object(item, items)
        return items or []


@contextlib.contextmanager
def joined_processes() -> Iterator[Processes]:
    """Join the processes named by `WORLD_SIZE` and `RANK`, as torchrun sets them, for the time of the block.

    All leave the block together, so that what the first process writes is there for every one of them. The collectives
    carry a few megabytes at most, so they go through gloo on any device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Processes()
        return
    # The addresses of an earlier meeting of these processes stay in their store, so each has a prefix of its own.
    store, rank, _ = next(rendezvous("env://", timeout=_PATIENCE))
    store = distributed.PrefixStore(f"units-{next(_MEETINGS)}", store)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        yield Processes(distributed.get_rank(), size)
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
