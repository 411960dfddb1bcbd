"""Recordings of a manifest, read by several threads and handed on in order."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from speechssl.data.manifest import Manifest
from speechssl.data.waveforms import read_listed
from speechssl.threads import available_cores, in_order

Result = TypeVar("Result")

_WAITING_A_THREAD = 2
"""Recordings that may wait to be handed on, for each thread: memory does not grow with the corpus."""


def read_in_order(
    manifest: Manifest, indices: Iterable[int], function: Callable[[Tensor], Result], threads: int
) -> Iterator[tuple[int, Result]]:
    """Return `(index, function(waveform))` of the indexed utterances in the given order.

    Reading and `function` run in `threads` threads. What is yielded does not depend on their number.

    Raises:
        UserError: see :func:`read_listed`.
    """

    def work(index: int) -> Result:
        return function(read_listed(manifest.audio_path(index), int(manifest.samples[index]), manifest.file))

    return in_order(indices, work, threads, ahead=_WAITING_A_THREAD * threads)


def reader_threads(threads: int) -> int:
    """Return the number of reader threads: the given one, or with 0 one for each processor.

    Processes that torchrun started on one machine share its processors.
    """
    return threads or max(1, available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


@contextlib.contextmanager
def single_threaded_torch() -> Iterator[None]:
    """Let each torch operation use one thread: faster where threads work on separate recordings.

    It also keeps the results independent of the number of processors.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
