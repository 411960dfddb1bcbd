"""The frames that k-means is fitted on: a seeded sample of recordings, held in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechssl.audio import SAMPLE_RATE
from speechssl.data.manifest import Manifest
from speechssl.errors import UserError
from speechssl.progress import progress
from speechssl.units.features import Features
from speechssl.units.processes import Processes

Indices = npt.NDArray[np.int64]

LEAST_SECONDS = 3600.0
MOST_SECONDS = 100 * 3600.0


def default_fraction(seconds: float) -> float:
    """Return the fraction of a corpus to fit on: a tenth, but from one hour to a hundred.

    A tenth is what HuBERT took of an encoder's features; its MFCC were fitted on all of LibriSpeech.
    """
    return min(1.0, max(LEAST_SECONDS, min(MOST_SECONDS, 0.1 * seconds)) / seconds) if seconds else 1.0


def sample_recordings(manifest: Manifest, fraction: float, seed: int) -> Indices:
    """Return the indices, ascending, of randomly chosen recordings that together hold `fraction` of the audio.

    At least one recording is chosen. With `fraction` 1 all are. A manifest without any audio is a `UserError`.
    """
    if not manifest.samples.sum():
        raise UserError(f"{manifest.file} lists no audio: all of its recordings have 0 samples")
    if fraction >= 1:
        return np.arange(len(manifest))
    order = np.random.default_rng(seed).permutation(len(manifest))
    seconds = manifest.samples[order].cumsum()
    chosen = int(np.searchsorted(seconds, fraction * seconds[-1])) + 1
    return np.sort(order[:chosen])


class FrameSample:
    """Which frames of chosen recordings are kept, so that no more than a stated number is.

    Of each recording, the share `most / total` of its frames is kept, drawn at random without repetition. Fewer frames
    of every recording are worth more than all frames of fewer recordings: neighbouring frames say nearly the same,
    other recordings bring other voices. k-means loses little by it: a centroid is the mean of its members, so with
    `n` frames the inertia on the rest of the corpus is about `k / n` of itself above the best.
    """

    def __init__(self, manifest: Manifest, features: Features, indices: Indices, most: int, seed: int) -> None:
        self._manifest = manifest
        self._features = features
        self._indices = indices
        self._seed = seed
        frames = [features.layout.frames(int(manifest.samples[index])) for index in indices]
        self._firsts = np.concatenate([[0], np.cumsum(frames)])
        self.total = int(self._firsts[-1])
        """Frames of the chosen recordings."""
        self.kept = min(self.total, most)
        """Frames that are kept of them."""

    def collect(self, threads: int, device: torch.device, processes: Processes) -> Tensor:
        """Return this process's share of the kept frames, `(frames, dim)` float32 on `device`."""
        share = processes.share(len(self._indices))
        first = self._kept_before(int(self._firsts[share.start]))
        rows = self._kept_before(int(self._firsts[share.stop])) - first
        kept = torch.empty(rows, self._features.dim, device=device)
        filled = 0
        for frames in self._kept_frames(share, threads):
            kept[filled : filled + len(frames)] = frames
            filled += len(frames)
        if filled != rows:
            raise RuntimeError(f"{filled} frames came from audio that should give {rows}")
        return kept

    def _kept_frames(self, share: range, threads: int) -> Iterator[Tensor]:
        indices = self._indices[share.start : share.stop].tolist()
        pieces = self._features.stream(self._manifest, indices, threads)
        position = int(self._firsts[share.start])
        with progress(range(len(indices)), "reading the fitted sample", "recording") as bar:
            previous = None
            for index, frames in pieces:
                yield self._thinned(frames, position)
                position += len(frames)
                bar.update(int(index != previous))
                previous = index

    def _kept_before(self, position: int) -> int:
        """Return how many of the first `position` frames of the sample are kept."""
        return position * self.kept // max(self.total, 1)

    def _thinned(self, frames: Tensor, position: int) -> Tensor:
        """Return the kept ones of consecutive frames, of which the first is the sample's frame `position`."""
        keep = self._kept_before(position + len(frames)) - self._kept_before(position)
        if keep == len(frames):
            return frames
        # Seeded by position: the same frames are kept for any number of threads and processes.
        rows = np.random.default_rng((self._seed, position)).permutation(len(frames))[:keep]
        return frames[torch.from_numpy(np.sort(rows)).to(frames.device)]


def corpus_seconds(manifest: Manifest, indices: Indices | None = None) -> float:
    """Return the seconds of audio of a manifest, or of those of its recordings that are indexed."""
    samples = manifest.samples if indices is None else manifest.samples[indices]
    return float(samples.sum()) / SAMPLE_RATE
