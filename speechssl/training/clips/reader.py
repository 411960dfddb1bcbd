"""Batches of clips: every update has its number of clips, split evenly over the processes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechssl.audio import SAMPLE_RATE
from speechssl.errors import UserError
from speechssl.training.clips.dataset import ClipDataset
from speechssl.training.trainable import TrainBatch
from speechssl.training.update_reader import UpdateReader
from speechssl.transfer import moved

Rows = npt.NDArray[np.int64]

_PIECE = 32
"""Held-out clips that one thread reads at a time."""


@dataclass
class ClipBatch(TrainBatch):
    """One batch on one device."""

    waveforms: list[Tensor]
    """One clip or more of each recording, each `(batch, samples)`."""
    clips: Tensor
    """`(batch,)` int64: rows of the manifest."""
    labels: Tensor | None
    """`(batch,)` int64 classes, or `None`."""
    epoch: int
    """Epoch, from 0."""
    seed: int
    """Seed of what is drawn on the device."""
    names: list[str]
    """Paths in the manifest, to name a batch that went wrong."""
    update_recordings: int
    """Recordings of the whole update, over all processes."""
    share: int = 1
    """The loss is a mean over this process's clips, and every process has one batch."""

    @property
    def update_seconds(self) -> float:
        """Audio of the whole update; several clips of a recording count once."""
        return self.update_recordings * self.waveforms[0].shape[1] / SAMPLE_RATE

    def to(self, device: Any, *, non_blocking: bool = False) -> None:
        """Move the tensors to a device, in place (fairseq2's protocol)."""
        self.waveforms = [moved(clip, device) for clip in self.waveforms]
        self.clips = moved(self.clips, device)
        if self.labels is not None:
            self.labels = moved(self.labels, device)


@dataclass(frozen=True)
class _Plan:
    """One batch before it is read."""

    rows: Rows
    update_recordings: int
    epoch: int
    seed: int


def epoch_updates(recordings: int, clips: int) -> int:
    """Return in how many updates of about `clips` recordings an epoch is divided."""
    return max(1, round(recordings / clips))


class ClipReader(UpdateReader[ClipBatch, tuple[int, Rows], _Plan]):
    """Reads the batches of one process: one an update.

    Args:
        dataset: what is read.
        clips: recordings in an update, over all processes. An epoch is divided into updates of about this many, so that
            none is left out.
        crops: clips of each recording.
        seed: of the order.
        rank: this process.
        processes: number of processes.
        workers: threads that read audio.
        labels: `(recordings,)` classes, or `None`.
        apart: `(recordings,)` clusters, or `None`: no two recordings of one cluster are in an update (G-SimCLR, arXiv
            2009.12007). Updates are smaller than `clips` where a cluster is larger than the number of updates.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        clips: int,
        crops: int,
        seed: int,
        rank: int,
        processes: int,
        workers: int,
        labels: Rows | None = None,
        apart: Rows | None = None,
    ) -> None:
        super().__init__(training=True, workers=workers)
        self._dataset = dataset
        self._clips = clips
        self._crops = crops
        self._seed = seed
        self._rank = rank
        self._processes = processes
        self._labels = labels
        self._apart = apart

    @property
    def updates_an_epoch(self) -> int:
        """Number of updates of an epoch."""
        largest = 1 if self._apart is None else int(np.bincount(self._apart).max())
        return max(epoch_updates(len(self._dataset), self._clips), largest)

    def _updates(self, epoch: int) -> list[tuple[int, Rows]]:
        generator = np.random.default_rng((self._seed, epoch))
        order = generator.permutation(len(self._dataset))
        count = self.updates_an_epoch
        if self._apart is None:
            return list(enumerate(np.array_split(order, count)))
        # Dealt out like cards, cluster after cluster: a cluster has no more members than there are updates.
        shuffled = generator.permutation(int(self._apart.max()) + 1)[self._apart[order]]
        dealt = order[np.argsort(shuffled, kind="stable")]
        updates = [dealt[first::count] for first in range(count)]
        return list(enumerate(updates[place] for place in generator.permutation(len(updates))))

    def _batches_of(self, update: tuple[int, Rows]) -> int:
        return 1

    def _plan(self, update: tuple[int, Rows], epoch: int) -> list[_Plan]:
        number, rows = update
        seed = int(np.random.SeedSequence((self._seed, epoch, number, self._rank)).generate_state(1)[0])
        return [_Plan(np.array_split(rows, self._processes)[self._rank], len(rows), epoch, seed)]

    def _read(self, plan: _Plan) -> ClipBatch:
        rows = plan.rows.tolist()
        waveforms = [
            torch.stack([self._dataset.clip(row, plan.epoch, number) for row in rows]) for number in range(self._crops)
        ]
        return _batch(self._dataset, plan, waveforms, self._labels)


class HeldOutReader(UpdateReader[ClipBatch, Rows, Rows]):
    """Reads held-out clips, cut from the middles; every process reads all.

    Args:
        dataset: what is read.
        clips: recordings at most, spread evenly over the manifest.
        batch: recordings in a batch.
        workers: threads that read audio.
        labels: `(recordings,)` classes, or `None`.
        keep: the clips stay in memory, for the next validation.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        clips: int,
        batch: int,
        workers: int,
        labels: Rows | None = None,
        keep: bool = False,
    ) -> None:
        super().__init__(training=False, workers=workers)
        self._dataset = dataset
        self._batch = batch
        count = min(clips, len(dataset))
        self._rows = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(np.int64))
        self._labels = labels
        self._keep = keep
        self._kept: dict[int, Tensor] = {}

    def __next__(self) -> list[ClipBatch]:
        return [_joined(super().__next__())]

    @property
    def num_accumulate(self) -> int:
        """The pieces that were read make one batch."""
        return 1

    def _updates(self, epoch: int) -> list[Rows]:
        return [self._rows[first : first + self._batch] for first in range(0, len(self._rows), self._batch)]

    def _batches_of(self, update: Rows) -> int:
        return -(-len(update) // _PIECE)

    def _plan(self, update: Rows, epoch: int) -> list[Rows]:
        return [update[first : first + _PIECE] for first in range(0, len(update), _PIECE)]

    def _read(self, plan: Rows) -> ClipBatch:
        first = int(plan[0])
        clips = self._kept.get(first)
        if clips is None:
            clips = torch.stack([self._dataset.middle(row) for row in plan.tolist()])
            if self._keep:
                self._kept[first] = clips
        return _batch(self._dataset, _Plan(plan, len(plan), 0, 0), [clips], self._labels)


def _batch(dataset: ClipDataset, plan: _Plan, waveforms: list[Tensor], labels: Rows | None) -> ClipBatch:
    return ClipBatch(
        waveforms=waveforms,
        clips=torch.from_numpy(plan.rows),
        labels=None if labels is None else torch.from_numpy(labels[plan.rows]),
        epoch=plan.epoch,
        seed=plan.seed,
        names=[dataset.manifest.paths[row] for row in plan.rows.tolist()],
        update_recordings=plan.update_recordings,
    )


def _joined(pieces: list[ClipBatch]) -> ClipBatch:
    """Return one batch of the held-out clips of several."""
    labels = [piece.labels for piece in pieces if piece.labels is not None]
    return dataclasses.replace(
        pieces[0],
        waveforms=[torch.cat([piece.waveforms[0] for piece in pieces])],
        clips=torch.cat([piece.clips for piece in pieces]),
        labels=torch.cat(labels) if labels else None,
        names=[name for piece in pieces for name in piece.names],
        update_recordings=sum(piece.update_recordings for piece in pieces),
    )


def check_enough_clips(recordings: int, clips: int, processes: int) -> None:
    """Raise a `UserError` unless every process has two clips at least in each update: batch norm needs as many."""
    smallest = min(clips, recordings)
    if smallest < 2 * processes:
        raise UserError(
            f"an update of {smallest} clips cannot be split over {processes} processes: "
            "raise clips=, add audio, or start fewer processes"
        )
