"""Batches of one update after the other, read ahead by fairseq2's data pipeline."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import torch
from fairseq2.data.data_pipeline import DataPipeline, read_sequence
from typing_extensions import Self

from speechssl.training.trainable import Batch, RunReader

Update = TypeVar("Update")
Plan = TypeVar("Plan")


class UpdateReader(RunReader[Batch], Generic[Batch, Update, Plan]):
    """Reads the batches of one process, update by update. The position in an epoch is its whole state.

    Args:
        training: a new order, new crops and masks in every epoch; else always the same.
        workers: threads that read audio.
    """

    def __init__(self, training: bool, workers: int) -> None:
        # Fixed when a thread first asks. After the readers it would be their number: training on one core.
        torch.get_num_threads()
        self._training = training
        self._workers = workers
        self._epoch = 0
        self._update = 0
        self._batches: Iterator[Any] | None = None
        self._sizes: list[int] = []

    @abstractmethod
    def _updates(self, epoch: int) -> list[Update]:
        """Return all updates of an epoch."""

    @abstractmethod
    def _batches_of(self, update: Update) -> int:
        """Return how many batches of an update are this process's."""

    @abstractmethod
    def _plan(self, update: Update, epoch: int) -> list[Plan]:
        """Return this process's batches of an update, before they are read."""

    @abstractmethod
    def _read(self, plan: Plan) -> Batch:
        """Read a batch."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[Batch]:
        if self._batches is None:
            self._open_epoch()
        assert self._batches is not None
        if self._update >= len(self._sizes):
            self._batches = None
            raise StopIteration
        batches = [next(self._batches) for _ in range(self._sizes[self._update])]
        self._update += 1
        return batches

    def reset(self) -> None:
        """Go on to the next epoch."""
        self._epoch += 1
        self._update = 0
        self._batches = None

    def close(self) -> None:
        """Stop reading ahead."""
        self._batches = None

    def state_dict(self) -> dict[str, object]:
        """Return the position: what was read ahead is read again."""
        return {"epoch": self._epoch, "update": self._update}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go to a saved position."""
        self._epoch, self._update = int(str(state_dict["epoch"])), int(str(state_dict["update"]))
        self._batches = None

    @property
    def num_accumulate(self) -> int:
        """Batches in an update of this process; updates differ, so this is the next one's."""
        return self._sizes[self._update] if self._update < len(self._sizes) else 1

    def _open_epoch(self) -> None:
        epoch = self._epoch if self._training else 0
        left = self._updates(epoch)[self._update :]
        self._sizes = [0] * self._update + [self._batches_of(update) for update in left]

        # Plans are made as they are needed: the masks of a whole epoch of 960 h take half a minute.
        def plans(update: Update) -> DataPipeline:
            return read_sequence(self._plan(update, epoch)).and_return()

        pipeline = read_sequence(left).yield_from(plans).map(self._read_alone, num_parallel_calls=self._workers)
        self._batches = iter(pipeline.prefetch(2 * self._workers).and_return())

    def _read_alone(self, plan: Plan) -> Batch:
        # This runs in threads of the data pipeline. Each would start its own team of OpenMP threads and take the cores
        # from training; the setting counts for the calling thread only.
        torch.set_num_threads(1)
        return self._read(plan)
