"""fairseq2's progress, shown as every other stage shows it."""

from __future__ import annotations

from typing import Any

from fairseq2.utils.progress import ProgressReporter, ProgressTask
from tqdm import tqdm
from typing_extensions import Self

from speechssl.progress import progress


class TrainingProgress(ProgressReporter):
    """Updates with their rate and the time left, on a terminal only. Validation has no bar of its own.

    Args:
        shown: false in all processes but one.
    """

    def __init__(self, shown: bool) -> None:
        self._shown = shown

    def create_task(self, name: str, total: int | None, completed: int = 0, *, start: bool = True) -> ProgressTask:
        """Return the bar of one task."""
        shown = self._shown and name == "train"
        return _Bar(progress(range(total or 0), name, "update", total=total) if shown else None, completed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ex: Any) -> None:
        pass


class _Bar(ProgressTask):
    def __init__(self, bar: tqdm[Any] | None, completed: int) -> None:
        self._bar = bar
        if bar is not None and completed:
            bar.initial = bar.n = completed

    def start(self) -> None:
        pass

    def step(self, value: int = 1) -> None:
        if self._bar is not None:
            self._bar.update(value)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
