"""Batches of an update, read ahead by fairseq2's data pipeline; the position in an epoch is its whole state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from fairseq2.data.data_pipeline import DataPipeline, read_sequence
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from typing_extensions import Self

from speechssl.models.encoder import Encoder
from speechssl.objectives.objective import Targets
from speechssl.training.batching import Group, UpdatePlanner
from speechssl.training.dataset import Example, PretrainDataset
from speechssl.training.settings import Fit
from speechssl.training.trainable import RunReader, TrainBatch


@dataclass(frozen=True)
class UpdateCounts:
    """What the losses of one update are divided by, over all its batches and processes."""

    masked: int
    """Masked frames."""
    utterances: int
    """Utterances."""
    frames: int
    """Valid frames."""


@dataclass
class PretrainBatch(TrainBatch):
    """One batch on one device."""

    waveforms: Tensor
    """`(batch, samples)`, zero in the padding."""
    lengths: Tensor | None
    """`(batch,)` valid samples, on the CPU; `None` where nothing is padded."""
    targets: Targets
    """Masks, labels, topics."""
    names: list[str]
    """Paths in the manifest, to name a batch that went wrong."""
    counts: UpdateCounts
    """Counts of the whole update."""
    share: int
    """Number of batches of the update over all processes: the trainer averages over them."""

    @property
    def seconds(self) -> float:
        """Audio in the batch, padding left out."""
        samples = self.waveforms.numel() if self.lengths is None else int(self.lengths.sum())
        return samples / Encoder.sample_rate

    def to(self, device: Any, *, non_blocking: bool = False) -> None:
        """Move the tensors to a device, in place (fairseq2's protocol); `lengths` are read on the CPU, and stay."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        self.waveforms = moved(self.waveforms)
        topics = self.targets.topics
        self.targets = Targets(
            mask=moved(self.targets.mask),
            labels=[moved(labels) for labels in self.targets.labels],
            topics=None if topics is None else moved(topics),
        )


@dataclass(frozen=True)
class _Plan:
    """One batch before it is read."""

    members: list[int]
    samples: list[int]
    frames: list[int]
    counts: UpdateCounts
    share: int
    epoch: int


class PretrainReader(RunReader[PretrainBatch]):
    """Reads the batches of one process, update by update.

    Args:
        dataset: what is read.
        planner: which utterances make up an update.
        encoder: says how many frames a crop has.
        fit: pad to the longest of a batch or crop to the shortest.
        rank: this process.
        training: a new order, new crops and masks in every epoch; else always the same.
        workers: threads that read audio.
    """

    def __init__(
        self,
        dataset: PretrainDataset,
        planner: UpdatePlanner,
        encoder: Encoder,
        fit: Fit,
        rank: int,
        training: bool,
        workers: int,
    ) -> None:
        self._dataset = dataset
        self._planner = planner
        self._encoder = encoder
        self._fit = fit
        self._rank = rank
        self._training = training
        self._workers = workers
        self._epoch = 0
        self._update = 0
        self._batches: Iterator[Any] | None = None
        self._sizes: list[int] = []

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[PretrainBatch]:
        if self._batches is None:
            self._open_epoch()
        assert self._batches is not None
        if self._update >= len(self._sizes):
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
        """Stop reading ahead. The threads call into Python, so they must be gone before the interpreter is."""
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
        updates = self._planner.epoch(epoch) if self._training else self._planner.in_order()
        split = [self._planner.batches(update) for update in updates[self._update :]]
        self._sizes = [0] * self._update + [len(groups) // self._planner.processes for groups in split]

        # Masks are drawn as they are needed: those of a whole epoch of 960 h take half a minute.
        def plans(groups: list[Group]) -> DataPipeline:
            return read_sequence(self._plan_update(groups, epoch)).and_return()

        pipeline = read_sequence(split).yield_from(plans).map(self._read, num_parallel_calls=self._workers)
        self._batches = iter(pipeline.prefetch(2 * self._workers).and_return())

    def _plan_update(self, groups: list[Group], epoch: int) -> list[_Plan]:
        """Return this process's batches of an update, given all of its batches, each with the counts of the update."""
        lengths = [self._lengths(group) for group in groups]
        frames = [self._encoder.frame_lengths(torch.from_numpy(samples)).numpy() for samples in lengths]
        masked = sum(
            int(self._dataset.mask(int(member), epoch, int(count)).sum())
            for group, counts in zip(groups, frames, strict=True)
            for member, count in zip(group, counts, strict=True)
        )
        utterances = sum(len(group) for group in groups)
        counts = UpdateCounts(masked, utterances, int(sum(count.sum() for count in frames)))
        return [
            _Plan(groups[place].tolist(), lengths[place].tolist(), frames[place].tolist(), counts, len(groups), epoch)
            for place in range(self._rank, len(groups), self._planner.processes)
        ]

    def _lengths(self, group: Group) -> Any:
        samples = self._dataset.samples[group]
        return np.full_like(samples, samples.min()) if self._fit is Fit.crop else samples

    def _read(self, plan: _Plan) -> PretrainBatch:
        # This runs in threads of the data pipeline. Each would start its own team of OpenMP threads and take the cores
        # from training; the setting counts for the calling thread only.
        torch.set_num_threads(1)
        examples = [
            self._dataset.example(member, plan.epoch, samples, frames)
            for member, samples, frames in zip(plan.members, plan.samples, plan.frames, strict=True)
        ]
        return collate(examples, plan.counts, plan.share)


def collate(examples: list[Example], counts: UpdateCounts, share: int) -> PretrainBatch:
    """Pad examples to the longest of them: audio and labels with 0, masks with false."""
    lengths = torch.tensor([len(example.waveform) for example in examples])
    topics = [example.topics for example in examples if example.topics is not None]
    targets = Targets(
        mask=pad_sequence([torch.from_numpy(example.mask) for example in examples], batch_first=True),
        labels=[
            pad_sequence([torch.from_numpy(example.labels[number]) for example in examples], batch_first=True)
            for number in range(len(examples[0].labels))
        ],
        topics=torch.from_numpy(np.stack(topics)) if topics else None,
    )
    same_length = bool((lengths == lengths[0]).all())
    return PretrainBatch(
        waveforms=pad_sequence([example.waveform for example in examples], batch_first=True),
        lengths=None if same_length else lengths,
        targets=targets,
        names=[example.name for example in examples],
        counts=counts,
        share=share,
    )
