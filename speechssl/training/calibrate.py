"""How many updates fit into a training budget."""

from __future__ import annotations

import statistics
import time

import torch
from fairseq2.gang import Gang, all_sum
from torch import nn

from speechssl.training.trainable import RunReader, TrainBatch

MEASURED_SECONDS = 8.0


def updates_in(
    minutes: float,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    reader: RunReader[TrainBatch],
    gang: Gang,
    dtype: torch.dtype,
) -> int:
    """Train a throw-away copy of the run for a few seconds and return how many updates fit into `minutes`.

    Args:
        minutes: the budget.
        model: a model whose weights may be spoilt.
        optimizer: the optimiser of the run, for that model.
        reader: reads its batches, from the start.
        gang: the processes; all of them call this.
        dtype: number format.

    A time limit alone would make the learning rate and the result depend on what else the machine does. So the
    number is fixed once, before the run, and kept in the run folder.

    The same updates are taken twice and the second time counts: by then audio is in memory and kernels are compiled,
    as they are for nearly all of the run. The third quartile of the durations stands for an update, which leaves time
    for validations and checkpoints.
    """
    model.train()
    start = reader.state_dict()
    seconds = min(MEASURED_SECONDS, 2 * minutes)
    for _ in range(2):
        reader.load_state_dict(start)
        durations: list[float] = []
        while sum(durations) < seconds:
            started = time.perf_counter()
            _update(model, reader, optimizer, gang.device, dtype)
            durations.append(_mean(gang, time.perf_counter() - started))
    update = statistics.quantiles(durations, n=4)[2] if len(durations) > 1 else durations[0]
    return max(1, int(60 * minutes / update))


def _mean(gang: Gang, seconds: float) -> float:
    """Return the mean of all processes' durations, so that all of them stop after the same update."""
    return float(all_sum(gang, seconds)) / gang.size


def _update(
    model: nn.Module,
    reader: RunReader[TrainBatch],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    try:
        batches = next(reader)
    except StopIteration:
        reader.reset()
        batches = next(reader)
    for batch in batches:
        batch.to(device)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32):
            loss, _ = model(batch)
        loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
