"""Which utterances make up each update: by duration, and the same for any number of processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speechssl.errors import UserError

Group = npt.NDArray[np.int64]
"""Indices of the utterances of one batch."""


_LOOKED_AT = 50_000
"""Utterances of planned epochs: a second of work."""


@dataclass(frozen=True)
class UpdatePlanner:
    """Plans the updates of an epoch and splits each into batches.

    The content of an update depends on the seed and the epoch alone. Only its split into batches depends on
    the number of processes and on the memory of a device.
    """

    samples: npt.NDArray[np.int64]
    """Samples of each utterance, after cropping."""
    update_samples: int
    """Samples in one update."""
    batch_samples: int
    """Samples in one batch on one device, padding included."""
    bucket_updates: int
    """Updates within which utterances are sorted by length."""
    processes: int
    """Number of processes; an update has a multiple of as many batches."""
    seed: int
    """Seed of the order."""

    def epoch(self, epoch: int) -> list[Group]:
        """Return the updates of an epoch in random order; each utterance is in exactly one."""
        generator = np.random.default_rng((self.seed, epoch, 0))
        order = generator.permutation(len(self.samples))
        window = self.update_samples * self.bucket_updates
        updates: list[Group] = []
        for members in _cut(order, self.samples, window):
            by_length = members[np.argsort(self.samples[members], kind="stable")]
            updates += _cut(by_length, self.samples, self.update_samples)
        return [updates[index] for index in generator.permutation(len(updates))]

    def check(self) -> None:
        """Plan as many epochs as have some ten thousand utterances.

        Raises:
            UserError: an update cannot be split. A small corpus on several processes can be lucky for some epochs.
        """
        epochs = 1 if self.processes == 1 else max(1, _LOOKED_AT // len(self.samples))
        for epoch in range(epochs):
            for update in self.epoch(epoch):
                self.batches(update)

    def in_order(self) -> list[Group]:
        """Return all utterances once, longest first, in updates that do not depend on the seed (for validation)."""
        order = np.argsort(-self.samples, kind="stable")
        return _cut(order, self.samples, self.update_samples)

    def batches(self, update: Group) -> list[Group]:
        """Split one update into batches of similar length; process `r` of `n` takes every `n`-th from the `r`-th.

        Raises:
            UserError: an utterance does not fit in a batch, or there are fewer utterances than batches are needed.
        """
        members = update[np.argsort(-self.samples[update], kind="stable")]
        lengths = self.samples[members]
        if lengths[0] > self.batch_samples:
            raise UserError(
                f"an utterance of {int(lengths[0])} samples does not fit in a batch of {self.batch_samples}: "
                "raise batch.seconds or lower data.max_seconds"
            )
        needed = len(_fill(lengths, self.batch_samples))
        count = -(-needed // self.processes) * self.processes
        if len(self.samples) < self.processes:
            raise UserError(
                f"a split of {len(self.samples)} utterances has fewer than the {self.processes} processes: "
                "start fewer, or hold more recordings out (valid_fraction of `speechssl manifest`)"
            )
        if count > len(members):
            raise UserError(
                f"an update of {len(members)} utterances cannot be split over {self.processes} processes into "
                f"batches of at most {self.batch_samples} samples: start fewer processes, or raise batch.seconds or "
                "batch.total_seconds"
            )
        return [members[start:end] for start, end in _balance(lengths, self.batch_samples, count)]


def _cut(order: Group, samples: npt.NDArray[np.int64], size: int) -> list[Group]:
    """Cut `order` into contiguous pieces of about `size` samples; a small rest joins the piece before it."""
    ends = np.cumsum(samples[order])
    pieces = max(1, round(int(ends[-1]) / size))
    limits = np.searchsorted(ends, ends[-1] * np.arange(1, pieces) / pieces)
    return [piece for piece in np.split(order, np.unique(limits)) if len(piece)]


def _fill(lengths: Group, limit: int) -> list[tuple[int, int]]:
    """Cut lengths, longest first, into as few groups as keep each group's padded size within `limit`."""
    groups, start = [], 0
    while start < len(lengths):
        end = start + max(1, limit // int(lengths[start]))
        groups.append((start, min(end, len(lengths))))
        start = end
    return groups


def _balance(lengths: Group, limit: int, count: int) -> list[tuple[int, int]]:
    """Cut lengths, longest first, into exactly `count` groups whose padded size is as even as can be."""
    low, high = 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        if middle >= lengths[0] and len(_fill(lengths, middle)) <= count:
            high = middle
        else:
            low = middle
    groups = _fill(lengths, high)
    while len(groups) < count:
        largest = max(range(len(groups)), key=lambda place: groups[place][1] - groups[place][0])
        start, end = groups[largest]
        groups[largest : largest + 1] = [(start, (start + end) // 2), ((start + end) // 2, end)]
    return groups
