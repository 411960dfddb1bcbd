"""Processes and number format of a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
from fairseq2.gang import FakeGang, Gang, Gangs, ProcessGroupGang, create_fsdp_gangs, create_parallel_gangs

from speechssl.errors import UserError
from speechssl.models.device import cpu_has_bf16, gpu_has_bf16
from speechssl.training.settings import Parallel, Precision

Joined = Gang
"""The processes that torchrun started, or this one alone."""
_PATIENCE = timedelta(days=1)
"""That processes wait for one that works alone: torchrun ends them if it fails."""


@contextlib.contextmanager
def joined_gang(device: torch.device) -> Iterator[Joined]:
    """Join the processes that torchrun started, for the time of several runs one after the other; yield their gang.

    All leave the block together; one that leaves it by an error does not wait for the others. They may wait for what
    one of them does alone. Without this each run joins them by itself, which they can do once.
    """
    root = _root_gang(device, _PATIENCE)
    yield root
    root.barrier()
    root.close()


def create_gangs(device: torch.device, parallel: Parallel, joined: Joined | None = None) -> Gangs:
    """Return fairseq2's groups of processes: one process, or those that torchrun started.

    Args:
        device: of this process.
        parallel: how they share the model.
        joined: what `joined_gang` yields, to which this run's group belongs; it is left open when the run ends.
    """
    if joined is None or joined.size == 1:
        root = _root_gang(device)
    else:
        all_of_them = joined.create_gang(range(joined.size))
        assert all_of_them is not None
        root = all_of_them
    gangs = create_parallel_gangs(root)
    return create_fsdp_gangs(gangs) if parallel is Parallel.fsdp and root.size > 1 else gangs


def _root_gang(device: torch.device, patience: timedelta | None = None) -> Gang:
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return FakeGang(device)
    return ProcessGroupGang.create_default_process_group(device, timeout=patience)


def compute_type(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the number format of the forward and backward pass.

    Raises:
        UserError: bf16 was asked for, or the run began with it, and this GPU has none.
    """
    if precision is Precision.fp32:
        return torch.float32
    has_bf16 = gpu_has_bf16() if device.type == "cuda" else cpu_has_bf16()
    if precision is Precision.bf16 and device.type == "cuda" and not has_bf16:
        raise UserError(
            "this GPU has no bf16, with which the run is set or began: use another device, "
            "or begin with run.precision=fp32 in another out="
        )
    return torch.bfloat16 if has_bf16 or precision is Precision.bf16 else torch.float32
