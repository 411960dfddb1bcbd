"""fairseq2's progress, shown as every other stage shows it, and told in the log where that is no terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from fairseq2.utils.progress import NOOP_PROGRESS_REPORTER, ProgressReporter, ProgressTask
from tqdm import tqdm
from typing_extensions import Self

from speechssl.progress import progress

log = logging.getLogger(__name__)

_SECONDS = 20
"""Between two lines of the log, at least. With updates of less than ten seconds there is one every half minute."""


class TrainingProgress(ProgressReporter):
    """Updates with the time left: a bar on a terminal, elsewhere lines of the log. Validation has none of its own.

    Args:
        shown: false in all processes but one.
        loss: returns that of the newest batch, `None` where there is none. It may wait for the device: it is asked
            for each line only.
    """

    def __init__(self, shown: bool, loss: Callable[[], float | None] = lambda: None) -> None:
        self._shown = shown
        self._loss = loss

    def create_task(self, name: str, total: int | None, completed: int = 0, *, start: bool = True) -> ProgressTask:
        """Return the bar or the lines of one task."""
        if not self._shown or name != "train":
            return NOOP_PROGRESS_REPORTER.create_task(name, total, completed)
        bar = progress(range(total or 0), name, "update", total=total)
        return _Lines(total or 0, completed, self._loss) if bar.disable else _Bar(bar, completed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ex: Any) -> None:
        pass


class _Bar(ProgressTask):
    def __init__(self, bar: tqdm[Any], completed: int) -> None:
        self._bar = bar
        if completed:
            bar.initial = bar.n = completed

    def start(self) -> None:
        pass

    def step(self, value: int = 1) -> None:
        self._bar.update(value)

    def close(self) -> None:
        self._bar.close()


class _Lines(ProgressTask):
    def __init__(self, total: int, completed: int, loss: Callable[[], float | None]) -> None:
        self._total = total
        self._first = self._begun = completed
        self._loss = loss
        self._start = self._told = time.monotonic()

    def start(self) -> None:
        pass

    def step(self, value: int = 1) -> None:
        """Begin an update (with -1, take that back), and tell of those before it if it is time."""
        self._begun += value
        now, done = time.monotonic(), self._begun - 1
        if done <= self._first or now - self._told < _SECONDS:
            return
        self._told = now
        minutes = (now - self._start) / (done - self._first) * (self._total - done) / 60
        loss = self._loss()
        told = "" if loss is None else f"loss {loss:.4g}, "
        log.info("update %d of %d, %s%.1f minutes left", done, self._total, told, minutes)

    def close(self) -> None:
        pass
