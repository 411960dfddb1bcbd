"""Processes, device and number format of a run."""

from __future__ import annotations

import os

import torch
from fairseq2.gang import FakeGang, Gangs, ProcessGroupGang, create_fsdp_gangs, create_parallel_gangs

from speechssl.errors import UserError
from speechssl.training.settings import Parallel, Precision


def this_device() -> torch.device:
    """Return this process's GPU, as torchrun numbers processes, and make it torch's own choice; or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def create_gangs(device: torch.device, parallel: Parallel) -> Gangs:
    """Return fairseq2's groups of processes: one process, or those that torchrun started."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    root = ProcessGroupGang.create_default_process_group(device) if size > 1 else FakeGang(device)
    gangs = create_parallel_gangs(root)
    return create_fsdp_gangs(gangs) if parallel is Parallel.fsdp and size > 1 else gangs


def compute_type(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the number format of the forward and backward pass.

    Raises:
        UserError: bf16 was asked for on a GPU that has none.
    """
    if precision is Precision.fp32:
        return torch.float32
    has_bf16 = torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu_has_bf16()
    if precision is Precision.bf16 and device.type == "cuda" and not has_bf16:
        raise UserError("this GPU has no bf16; use run.precision=fp32")
    return torch.bfloat16 if has_bf16 or precision is Precision.bf16 else torch.float32


def cpu_has_bf16() -> bool:
    """Return whether the processor has bf16 instructions: without them bf16 is slower than fp32."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
