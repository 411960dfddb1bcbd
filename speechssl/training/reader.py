"""Batches of masked pretraining: utterances with labels, masks and topics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechssl.models.encoder import Encoder
from speechssl.objectives.objective import Targets
from speechssl.training.batching import Group, UpdatePlanner
from speechssl.training.dataset import Example, PretrainDataset
from speechssl.training.settings import Fit
from speechssl.training.trainable import TrainBatch
from speechssl.training.update_reader import UpdateReader
from speechssl.transfer import moved


@dataclass(frozen=True)
class UpdateCounts:
    """What the losses of one update are divided by, and its audio, over all its batches and processes."""

    masked: int
    """Masked frames."""
    utterances: int
    """Utterances."""
    frames: int
    """Valid frames."""
    samples: int
    """Samples of audio, padding left out."""


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
    def update_seconds(self) -> float:
        """Audio of the whole update, padding left out."""
        return self.counts.samples / Encoder.sample_rate

    def to(self, device: Any, *, non_blocking: bool = False) -> None:
        """Move the tensors to a device, in place (fairseq2's protocol); `lengths` are read on the CPU, and stay."""
        self.waveforms = moved(self.waveforms, device)
        topics = self.targets.topics
        self.targets = Targets(
            mask=moved(self.targets.mask, device),
            labels=[moved(labels, device) for labels in self.targets.labels],
            topics=None if topics is None else moved(topics, device),
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


class PretrainReader(UpdateReader[PretrainBatch, list[Group], _Plan]):
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
        super().__init__(training, workers)
        self._dataset = dataset
        self._planner = planner
        self._encoder = encoder
        self._fit = fit
        self._rank = rank

    def _updates(self, epoch: int) -> list[list[Group]]:
        """Return the updates of an epoch, each as its batches over all processes."""
        updates = self._planner.epoch(epoch) if self._training else self._planner.in_order()
        return [self._planner.batches(update) for update in updates]

    def _batches_of(self, update: list[Group]) -> int:
        return len(update) // self._planner.processes

    def _plan(self, groups: list[Group], epoch: int) -> list[_Plan]:
        """Return this process's batches of an update, given all of its batches, each with the counts of the update."""
        lengths = [self._lengths(group) for group in groups]
        frames = [self._encoder.frame_lengths(torch.from_numpy(samples)).numpy() for samples in lengths]
        masked = sum(
            int(self._dataset.mask(int(member), epoch, int(count)).sum())
            for group, counts in zip(groups, frames, strict=True)
            for member, count in zip(group, counts, strict=True)
        )
        utterances = sum(len(group) for group in groups)
        counts = UpdateCounts(
            masked,
            utterances,
            frames=sum(int(count.sum()) for count in frames),
            samples=sum(int(samples.sum()) for samples in lengths),
        )
        return [
            _Plan(groups[place].tolist(), lengths[place].tolist(), frames[place].tolist(), counts, len(groups), epoch)
            for place in range(self._rank, len(groups), self._planner.processes)
        ]

    def _lengths(self, group: Group) -> Any:
        samples = self._dataset.samples[group]
        return np.full_like(samples, samples.min()) if self._fit is Fit.crop else samples

    def _read(self, plan: _Plan) -> PretrainBatch:
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
