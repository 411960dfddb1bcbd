"""Recordings of a manifest, read by several threads and handed on in order."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from speechssl.audio import AudioError, read_audio
from speechssl.data.manifest import Manifest
from speechssl.errors import UserError

Result = TypeVar("Result")

_WAITING_A_THREAD = 2
"""Recordings that may wait to be handed on, for each thread: memory does not grow with the corpus."""


def read_in_order(
    manifest: Manifest, indices: Iterable[int], function: Callable[[Tensor], Result], threads: int
) -> Iterator[tuple[int, Result]]:
    """Yield `(index, function(waveform))` of the indexed utterances in the given order.

    Reading and `function` run in `threads` threads. What is yielded does not depend on their number.

    Raises:
        UserError: a recording cannot be read, holds values that are not finite, or has another length than the
            manifest says. Nothing is skipped: labels are lines in the manifest's order.
    """

    def work(index: int) -> Result:
        return function(_read(manifest, index))

    pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
    waiting: deque[tuple[int, Future[Result]]] = deque()
    try:
        for index in indices:
            waiting.append((index, pool.submit(work, index)))
            if len(waiting) > _WAITING_A_THREAD * threads:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def reader_threads(threads: int) -> int:
    """Return the number of reader threads: the given one, or with 0 one for each processor.

    Processes that torchrun started on one machine share its processors.
    """
    return threads or max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


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


def _read(manifest: Manifest, index: int) -> Tensor:
    path = manifest.audio_path(index)
    advice = f"listed in {manifest.file}; restore it or make the manifest again (`speechssl manifest`)"
    try:
        waveform = read_audio(path)
    except AudioError as error:
        raise UserError(f"{path}: {error}; {advice}") from error
    if len(waveform) != manifest.samples[index]:
        raise UserError(f"{path}: has {len(waveform)} samples at 16 kHz, not the {manifest.samples[index]} {advice}")
    return waveform
