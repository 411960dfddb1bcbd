"""Work in threads: libsndfile and torch run outside Python's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def in_order(
    items: Iterable[Item], function: Callable[[Item], Result], threads: int, ahead: int
) -> Iterator[tuple[Item, Result]]:
    """Yield `(item, function(item))` in the order of the items, which does not depend on the number of threads.

    Args:
        items: asked for one at a time.
        function: called in the threads; what it raises is raised here, in its turn.
        threads: how many work at once.
        ahead: items that may be worked on before they are asked for, so that memory does not grow with their number.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
