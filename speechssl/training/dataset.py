"""Utterances with their frame labels, topics and masks, read one at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from speechssl.audio import SAMPLE_RATE, read_audio
from speechssl.data.labels import FrameLabels, check_labels_fit, read_labels, sidecar
from speechssl.data.manifest import AUDIO, Manifest, read_manifest, unwatched_audio
from speechssl.data.masking import MaskSettings, label_positions, span_mask
from speechssl.data.recording_labels import TopicLabels, check_topics_fit, read_topics
from speechssl.data.waveforms import read_listed, read_listed_stretch
from speechssl.errors import UserError
from speechssl.files import changes, checksum
from speechssl.models.encoder import Encoder
from speechssl.training.settings import DataSettings

_SEVERAL = 3
"""Crops in a recording from which on it is worth looking for one of them in the file."""


@dataclass
class Example:
    """One utterance as the model sees it."""

    name: str
    """Path in the manifest."""
    waveform: Tensor
    """`(samples,)`, cropped."""
    mask: npt.NDArray[np.bool_]
    """`(frames,)`."""
    labels: list[npt.NDArray[np.int64]]
    """One `(frames,)` array a label set."""
    topics: npt.NDArray[np.float32] | None
    """`(topics,)` posteriors."""


class AudioCache:
    """Decoded audio, kept until a stated memory is full. What does not fit is decoded each time."""

    def __init__(self, gigabytes: float) -> None:
        self._free = int(gigabytes * 1e9)
        self._kept: dict[Path, Tensor] = {}
        self._lock = threading.Lock()

    def read(self, path: Path) -> Tensor:
        """Return the waveform `(samples,)` of a file; the same values whether it was kept or not."""
        kept = self._kept.get(path)
        if kept is not None:
            return kept
        waveform = read_audio(path)
        size = waveform.numel() * waveform.element_size()
        with self._lock:
            if path not in self._kept and size <= self._free:
                self._free -= size
                self._kept[path] = waveform
        return waveform

    def read_listed(self, manifest: Manifest, row: int) -> Tensor:
        """Return the waveform `(samples,)` of an utterance of a manifest.

        Raises:
            UserError: the audio cannot be read, or is not as long as the manifest says.
        """
        return read_listed(manifest.audio_path(row), int(manifest.samples[row]), manifest.file, self.read)

    def read_stretch(self, manifest: Manifest, row: int, first: int, samples: int) -> Tensor:
        """Return a cut of :meth:`read_listed`: as many samples from the first one on, fewer where the utterance ends.

        Of a long utterance that is not kept, and will not be, only the cut is decoded.
        """
        path, whole = manifest.audio_path(row), int(manifest.samples[row])
        fits = whole * torch.float32.itemsize <= self._free
        if path in self._kept or fits or whole < _SEVERAL * samples:
            return self.read_listed(manifest, row)[first : first + samples]
        return read_listed_stretch(path, whole, manifest.file, first, samples)


class PretrainDataset:
    """A split of a corpus with its labels.

    Crops, masks and their seeds belong to an utterance and an epoch, so that nothing depends on batches or processes.

    Args:
        manifest: path of the manifest.
        settings: labels, topics, shortest and longest utterance.
        mask: span masks.
        encoder: says how many frames an utterance has.
        seed: seed of crops and masks.
        cache: decoded audio.
    """

    def __init__(
        self,
        manifest: str,
        settings: DataSettings,
        mask: MaskSettings,
        encoder: Encoder,
        seed: int,
        cache: AudioCache,
    ) -> None:
        self.manifest: Manifest = read_manifest(manifest)
        self._mask = mask
        self._frame_rate = encoder.frame_rate
        self._seed = seed
        self._cache = cache
        self.labels = _labels(settings, self.manifest)
        self.topics = _topics(settings.topics, self.manifest) if settings.topics else None
        # Crops start at whole frames, so that labels stay aligned with the audio.
        self._hop = round(SAMPLE_RATE / encoder.frame_rate)
        self._longest = int(settings.max_seconds * SAMPLE_RATE)
        lengths = np.asarray(self.manifest.samples)
        self.kept = np.flatnonzero(lengths >= settings.min_seconds * SAMPLE_RATE)
        if len(self.kept) == 0:
            raise UserError(f"{manifest} has no utterance of data.min_seconds={settings.min_seconds} or longer")
        self.too_short = len(lengths) - len(self.kept)
        self.samples = np.minimum(lengths[self.kept], self._longest)
        """`(utterances,)` samples after cropping, of the utterances that are long enough."""
        self.frames = encoder.frame_lengths(torch.from_numpy(self.samples)).numpy()
        """`(utterances,)` encoder frames after cropping."""
        shortest = int(self.frames.argmin())
        if self.frames[shortest] < 1:
            raise UserError(
                f"{self.manifest.audio_path(int(self.kept[shortest]))} gives {self.samples[shortest]} samples, "
                "which is no frame of the encoder: raise data.min_seconds, and data.max_seconds if it is as short"
            )

    def inputs(self) -> dict[str, str]:
        """Return the files that decide what is learned from this split, with their checksums."""
        files = manifest_inputs(self.manifest.file)
        files |= {str(labels.path): labels.info.sha256 for labels in self.labels}
        if self.topics is not None:
            # The posteriors are what is learned, not the most probable topics beside them.
            posteriors = Path(f"{self.topics.file}.npy")
            files[str(posteriors)] = checksum(posteriors)
        return files

    def mask(self, index: int, epoch: int, frames: int) -> npt.NDArray[np.bool_]:
        """Return the mask `(frames,)` of an utterance in an epoch, for a crop of `frames` frames."""
        return span_mask(
            frames, self._mask.probability, self._mask.length, self._mask.min_spans, self._generator(index, epoch, 1)
        )

    def example(self, index: int, epoch: int, samples: int, frames: int) -> Example:
        """Read an utterance.

        Args:
            index: its place among the utterances that are long enough.
            epoch: counted from 0; decides crop and mask.
            samples: length of the crop.
            frames: encoder frames of the crop.

        Raises:
            UserError: the audio cannot be read, or is not as long as the manifest says.
        """
        row = int(self.kept[index])
        start = self._start(index, epoch, int(self.manifest.samples[row]) - samples)
        waveform = self._cache.read_stretch(self.manifest, row, start, samples)
        labels = []
        for label_set in self.labels:
            values = label_set[row]
            positions = label_positions(frames, self._frame_rate, label_set.info.frame_rate, start // self._hop)
            # The last encoder frame can lie just beyond the last label.
            labels.append(values[np.minimum(positions, len(values) - 1)].astype(np.int64))
        return Example(
            name=self.manifest.paths[row],
            waveform=waveform,
            mask=self.mask(index, epoch, frames),
            labels=labels,
            # Copied here: a reader's thread waits for the disk, not training.
            topics=None if self.topics is None else np.array(self.topics.posteriors[row]),
        )

    def _start(self, index: int, epoch: int, spare: int) -> int:
        places = spare // self._hop + 1
        return int(self._generator(index, epoch, 2).integers(places)) * self._hop

    def _generator(self, index: int, epoch: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, epoch, int(self.kept[index]), purpose))


def check_same_source(train: PretrainDataset, valid: PretrainDataset) -> None:
    """Raise a `UserError` unless one k-means, and one topic model, labelled both splits.

    With two models the same number means two things, and the validation loss rises for no visible reason.
    """
    for one, other in zip(train.labels, valid.labels, strict=True):
        if one.info.kmeans_sha256 != other.info.kmeans_sha256 or one.info.frame_rate != other.info.frame_rate:
            raise UserError(f"{one.path} and {other.path} were made by two different k-means; label both with one")
    if train.topics and valid.topics and train.topics.info.model_sha256 != valid.topics.info.model_sha256:
        raise UserError(
            f"{train.topics.file} and {valid.topics.file} were made by two different topic models; make both with one"
        )


def _labels(settings: DataSettings, manifest: Manifest) -> list[FrameLabels]:
    files = [Path(folder) / f"{manifest.file.stem}.km" for folder in settings.labels]
    # Where all sets have a sidecar, the rate that was given has to be theirs.
    rated = [file for file in files if not sidecar(file).is_file()] or files
    labels = [read_labels(file, frame_rate=settings.label_rate or None if file in rated else None) for file in files]
    for each in labels:
        check_labels_fit(each, manifest)
    return labels


def _topics(folder: str, manifest: Manifest) -> TopicLabels:
    topics = read_topics(Path(folder) / f"{manifest.file.stem}.topic")
    check_topics_fit(topics, manifest)
    return topics


def manifest_inputs(manifest: Path) -> dict[str, str]:
    """Return what changes when a manifest or its recordings do: by size and time, where no `audio.json` tells."""
    files = {str(file): checksum(file) for file in (manifest, manifest.with_name(AUDIO)) if file.is_file()}
    audio = list(unwatched_audio(manifest))
    return {**files, f"audio of {manifest}": changes(audio)} if audio else files
