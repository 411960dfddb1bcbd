"""Which utterances make up each update: by duration, and the same for any number of processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from speechssl.errors import UserError

Group = npt.NDArray[np.int64]
"""Indices of the utterances of one batch."""


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

    def in_order(self) -> list[Group]:
        """Return all utterances once, longest first, in updates that do not depend on the seed (for validation)."""
        order = np.argsort(-self.samples, kind="stable")
        return _cut(order, self.samples, self.update_samples)

    def batches(self, update: Group) -> list[Group]:
        """Split one update into batches of similar length; process `r` of `n` takes every `n`-th from the `r`-th.

        Raises:
            UserError: an update has fewer utterances than there are processes.
        """
        members = update[np.argsort(-self.samples[update], kind="stable")]
        count = self.processes
        while True:
            if count > len(members):
                raise UserError(
                    f"an update of {len(members)} utterances cannot be split over {self.processes} processes into "
                    f"batches of at most {self.batch_samples} samples: raise batch.seconds or batch.total_seconds"
                )
            groups = _split_evenly(members, self.samples, count)
            if max(len(group) * int(self.samples[group].max()) for group in groups) <= self.batch_samples:
                return groups
            if count == len(members):
                raise UserError(
                    f"an utterance of {int(self.samples[members].max())} samples does not fit in a batch of "
                    f"{self.batch_samples}: raise batch.seconds or lower data.max_seconds"
                )
            count = min(count + self.processes, len(members) // self.processes * self.processes)


def _cut(order: Group, samples: npt.NDArray[np.int64], size: int) -> list[Group]:
    """Cut `order` into contiguous pieces of about `size` samples; a small rest joins the piece before it."""
    ends = np.cumsum(samples[order])
    pieces = max(1, round(int(ends[-1]) / size))
    limits = np.searchsorted(ends, ends[-1] * np.arange(1, pieces) / pieces)
    return [piece for piece in np.split(order, np.unique(limits)) if len(piece)]


def _split_evenly(members: Group, samples: npt.NDArray[np.int64], count: int) -> list[Group]:
    """Split members, longest first, into `count` contiguous groups of similar total length, none of them empty."""
    ends = np.cumsum(samples[members])
    limits = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count) + 1
    # Each group keeps at least one utterance.
    limits = np.maximum.accumulate(np.maximum(limits, np.arange(1, count)))
    limits = np.minimum(limits, len(members) - count + np.arange(1, count))
    return np.split(members, limits)


def total_seconds(samples: Sequence[int] | npt.NDArray[np.int64], rate: int) -> float:
    """Return the duration of all utterances in seconds."""
    return float(np.sum(samples)) / rate
