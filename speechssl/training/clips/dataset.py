"""Clips of a manifest, cut and padded to one length."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from speechssl.audio import SAMPLE_RATE
from speechssl.audio.augment_waveform import augment_waveform
from speechssl.audio.clip import fit_clip
from speechssl.data.manifest import Manifest, read_manifest
from speechssl.training.clips.settings import ClipDataSettings
from speechssl.training.dataset import AudioCache, manifest_inputs


class ClipDataset:
    """A split of a corpus, read as clips of one length.

    A clip's place and augmentation belong to the recording and the epoch, so nothing depends on batches or processes.

    Args:
        manifest: path of the manifest.
        settings: length of a clip, augmentation of waveforms.
        seed: seed of places and augmentation.
        cache: decoded audio.
    """

    def __init__(self, manifest: str, settings: ClipDataSettings, seed: int, cache: AudioCache) -> None:
        self.manifest: Manifest = read_manifest(manifest)
        self.samples = round(settings.seconds * SAMPLE_RATE)
        """Samples of a clip."""
        self._augment = settings.waveform
        stretch = settings.waveform.time_stretch
        # At a higher speed a clip takes more of the recording.
        self._read = math.ceil(self.samples * max(1.0, stretch.fastest if stretch.probability > 0 else 1.0))
        self._seed = seed
        self._cache = cache

    def __len__(self) -> int:
        return len(self.manifest)

    def keep(self, rows: Sequence[int]) -> None:
        """Leave out all recordings but those of these rows."""
        paths = [self.manifest.paths[row] for row in rows]
        self.manifest = dataclasses.replace(self.manifest, paths=paths, samples=self.manifest.samples[list(rows)])

    @property
    def padded(self) -> int:
        """Recordings that are shorter than a clip."""
        return int((self.manifest.samples < self.samples).sum())

    @property
    def cut(self) -> int:
        """Recordings that are longer than a clip."""
        return int((self.manifest.samples > self.samples).sum())

    def inputs(self) -> dict[str, str]:
        """Return the files that decide what is learned from this split, with their checksums."""
        return manifest_inputs(self.manifest.file)

    def clip(self, index: int, epoch: int, number: int) -> Tensor:
        """Return a clip `(samples,)` cut at a random place and augmented.

        Args:
            index: the recording's row in the manifest.
            epoch: counted from 0.
            number: 0 for the first clip of the recording in this epoch, 1 for the second.
        """
        generator = np.random.default_rng((self._seed, epoch, index, number))
        start = int(generator.integers(max(1, int(self.manifest.samples[index]) - self._read + 1)))
        waveform = self._cache.read_stretch(self.manifest, index, start, self._read)
        augmented = augment_waveform(waveform, self._augment, generator)
        spare = len(augmented) - self.samples
        if spare > 0:
            # More was read for the highest speed, and this one is lower.
            augmented = augmented[int(generator.integers(spare + 1)) :][: self.samples]
        return fit_clip(augmented, self.samples)

    def middle(self, index: int) -> Tensor:
        """Return the clip `(samples,)` in the middle of a recording, as it is."""
        spare = max(0, int(self.manifest.samples[index]) - self.samples)
        return fit_clip(self._cache.read_stretch(self.manifest, index, spare // 2, self.samples), self.samples)


def cluster_file(folder: str, data: ClipDataset) -> Path:
    """Return the file of a split's clusters in a folder of `speechssl cluster`."""
    return Path(folder) / f"{data.manifest.file.stem}.cluster"
