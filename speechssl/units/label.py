"""The stage `speechssl label`: from audio to one unit a frame, with nothing dumped on the way."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from speechssl import __version__
from speechssl.data.alignments import read_alignments
from speechssl.data.labels import LabelInfo, read_labels, write_labels
from speechssl.data.manifest import AUDIO, Manifest, read_manifest
from speechssl.errors import UserError
from speechssl.files import checksum, read_json, write_json
from speechssl.limits import require
from speechssl.memory import hand_back_memory
from speechssl.models.device import pick_device
from speechssl.models.load import encoder_files
from speechssl.progress import progress
from speechssl.units.features import Features, FeatureSettings, open_features
from speechssl.units.kmeans import Quantizer
from speechssl.units.model import CENTROIDS, DESCRIPTION, KMeansModel, read_kmeans
from speechssl.units.processes import Processes, joined_processes
from speechssl.units.quality import PhoneStatistics, SplitStatistics, UnitStatistics
from speechssl.units.reading import reader_threads

QUALITY = "quality.json"
ALIGNMENTS = "alignments.tsv"

_RECORDINGS_A_GATHER = 64
"""Recordings that each process labels between two gatherings of labels in the first process."""

Labels = npt.NDArray[np.int64]


@dataclass
class LabelSettings:
    """`speechssl label`."""

    manifests: list[str]
    """Manifests to label, all with the same k-means; `train.tsv` becomes `train.km`."""
    kmeans: str = "???"
    """Folder of the k-means, as `speechssl kmeans` wrote it."""
    out: str = "???"
    """Folder for `<split>.km`, `<split>.km.json` and `quality.json`."""
    encoder: str = ""
    """Where the encoder of the k-means is now, if it has moved. Its weights must be the same."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`: the GPU where there is one. MFCC are computed on the CPU."""
    threads: int = 0
    """Threads that read audio and compute MFCC; 0: one a processor. Results do not depend on it."""

    def __post_init__(self) -> None:
        splits = [Path(manifest).stem for manifest in self.manifests]
        if not splits or len(set(splits)) < len(splits):
            raise UserError(f"manifests={self.manifests}: give at least one, and no two of the same name")
        require({"threads": self.threads}, least=0)


def label_inputs(settings: LabelSettings) -> Iterable[Path]:
    """Return the files that decide whether labels are still current."""
    kmeans = Path(settings.kmeans)
    folders = {Path(manifest).parent for manifest in settings.manifests}
    yield from [Path(manifest) for manifest in settings.manifests]
    yield from sorted(folder / name for folder in folders for name in (ALIGNMENTS, AUDIO))
    yield from [kmeans / CENTROIDS, kmeans / DESCRIPTION]
    if (kmeans / DESCRIPTION).is_file():
        encoder = settings.encoder or read_json(kmeans / DESCRIPTION).get("features", {}).get("encoder")
        yield from encoder_files(encoder) if encoder else []


def label_outputs(settings: LabelSettings) -> Iterable[Path]:
    """Return the files that the stage makes."""
    labels = [Path(settings.out) / f"{Path(manifest).stem}.km" for manifest in settings.manifests]
    return [*labels, *(Path(f"{path}.json") for path in labels), Path(settings.out) / QUALITY]


def run_label(settings: LabelSettings) -> None:
    """Label every manifest with one k-means, and write how good the labels are.

    Every process labels a share of the recordings; the first one writes and prints. A split whose labels are there, by
    this k-means and of these recordings, is left out: what was labelled before a command was killed is not lost.

    Raises:
        UserError: a recording that cannot be read, an encoder other than the k-means', or labels of another k-means
            beside those to be made.
    """
    model = read_kmeans(settings.kmeans)
    manifests = [read_manifest(manifest) for manifest in settings.manifests]
    _require_one_kmeans(Path(settings.out), [manifest.file.stem for manifest in manifests], model)
    with joined_processes() as processes:
        device = pick_device(settings.device)
        features = _features_of(model, settings.encoder, device)
        quantizer = Quantizer(model.centroids.to(device))
        splits = [_Split(manifest, model, Path(settings.out)) for manifest in manifests]
        for split, current in zip(splits, _current(splits, processes), strict=True):
            if current:
                if processes.first:
                    split.count()
                continue
            rows = labelled_rows(split.manifest, features, quantizer, reader_threads(settings.threads), processes)
            if processes.first:
                split.write(rows)
            else:
                # Nothing comes out here; going through it makes this process label its share.
                deque(rows, maxlen=0)


def labelled_rows(
    manifest: Manifest, features: Features, quantizer: Quantizer, threads: int, processes: Processes
) -> Iterator[Labels]:
    """Yield the labels `(frames,)` of every recording, in the manifest's order, in the first process.

    The other processes label their shares; for them, nothing is yielded.
    """
    _require_frames(manifest, features)
    shares = list(_shares(len(manifest), processes))
    indices = (index for share in shares for index in share)
    pieces = groupby(features.stream(manifest, indices, threads), key=itemgetter(0))
    labelled = (torch.cat([quantizer(frames)[0] for _, frames in group]).cpu().numpy() for _, group in pieces)
    for share in shares:
        for rows in processes.gather(list(islice(labelled, len(share)))):
            yield from rows
        hand_back_memory()


def _shares(recordings: int, processes: Processes) -> Iterator[range]:
    """Yield this process's contiguous share of one block of recordings after the other."""
    block = _RECORDINGS_A_GATHER * processes.size
    for first in range(0, recordings, block):
        share = processes.share(min(block, recordings - first))
        yield range(first + share.start, first + share.stop)


def _require_frames(manifest: Manifest, features: Features) -> None:
    short = np.flatnonzero(manifest.samples < features.layout.window)
    if len(short):
        raise UserError(
            f"{manifest.file}: recordings shorter than one frame: {len(short)}, the first is "
            f"{manifest.paths[short[0]]}; leave them out when making the manifest (`speechssl manifest`)"
        )


def _features_of(model: KMeansModel, encoder: str, device: torch.device) -> Features:
    """Return the features that the k-means was fitted on."""
    description = model.file.with_name(DESCRIPTION)
    try:
        settings = FeatureSettings(**model.info.features)
    except TypeError as error:
        raise UserError(f"{description} names features of another version ({error}); fit k-means again") from error
    if encoder:
        if settings.kind != "encoder":
            raise UserError(
                f"{description} was fitted on {settings.kind}, not on an encoder: leave encoder={encoder} out"
            )
        settings = dataclasses.replace(settings, encoder=encoder)
    try:
        features = open_features(settings, device)
    except UserError as error:
        if settings.kind != "encoder" or encoder:
            raise
        raise UserError(f"the encoder of {description} is not there: {error}; or give it as encoder=FOLDER") from error
    if features.checksum != model.info.encoder_sha256:
        raise UserError(
            f"{settings.encoder} has other weights than the encoder that {description} was fitted on; "
            "fit k-means again, or give the right one as encoder=FOLDER"
        )
    return features


def _require_one_kmeans(out: Path, splits: list[str], model: KMeansModel) -> None:
    """Stop before labels of two k-means stand side by side: units with one number would mean two things."""
    for sidecar in sorted(out.glob("*.km.json")):
        split = sidecar.name.removesuffix(".km.json")
        if split not in splits and read_json(sidecar).get("kmeans_sha256") != model.info.sha256:
            raise UserError(
                f"{sidecar.with_suffix('')} was made by another k-means than {model.file}; "
                f"label {split}.tsv in the same command, or give another out="
            )


def _current(splits: list[_Split], processes: Processes) -> list[bool]:
    """Return which splits are left out. The first process decides for all: it may write before another one looks."""
    found = torch.zeros(len(splits), dtype=torch.int64)
    if processes.first:
        found += torch.tensor([split.is_current() for split in splits])
    return [bool(current) for current in processes.sum(found)]


@dataclass(frozen=True)
class _Split:
    """The labels of one manifest, and their quality."""

    manifest: Manifest
    model: KMeansModel
    out: Path

    @property
    def name(self) -> str:
        return self.manifest.file.stem

    @property
    def file(self) -> Path:
        return self.out / f"{self.name}.km"

    def info(self) -> LabelInfo:
        """Return the sidecar, without what is known only of labels that are there."""
        audio = self.manifest.file.with_name(AUDIO)
        return LabelInfo(
            frame_rate=self.model.info.frame_rate,
            k=self.model.info.k,
            source=FeatureSettings(**self.model.info.features).source,
            kmeans_sha256=self.model.info.sha256,
            manifest_sha256=checksum(self.manifest.file),
            audio_sha256=checksum(audio) if audio.is_file() else "",
            version=__version__,
        )

    def is_current(self) -> bool:
        """Return whether the labels are there; never where nothing says that the recordings are the same."""
        info = self.info()
        if not info.audio_sha256:
            return False
        try:
            found = read_labels(self.file).info
        except UserError:
            return False
        return dataclasses.replace(found, utterances=0, sha256="") == info

    def write(self, rows: Iterable[Labels]) -> None:
        """Write the labels `(frames,)` of every recording, and their quality."""
        statistics = self._statistics()
        counted = statistics.counted(zip(self.manifest.paths, rows, strict=True))
        shown = progress(counted, f"labelling {self.name}", "recording", total=len(self.manifest))
        write_labels(self.file, shown, self.info())
        self._write_quality(statistics.summary())

    def count(self) -> None:
        """Write the quality of labels that are there."""
        statistics, labels = self._statistics(), read_labels(self.file)
        rows = (labels[index] for index in range(len(labels)))
        deque(statistics.counted(zip(self.manifest.paths, rows, strict=True)), maxlen=0)
        print(f"label: {self.name}: done before and unchanged: {self.file}")
        self._write_quality(statistics.summary())

    def _statistics(self) -> SplitStatistics:
        """Return what counts; against phones where the manifest has alignments beside it."""
        info = self.model.info
        alignments = self.manifest.file.parent / ALIGNMENTS
        phones = None
        if alignments.is_file():
            phones = PhoneStatistics(info.k, read_alignments(alignments), info.frame_rate)
        return SplitStatistics(UnitStatistics(info.k), phones)

    def _write_quality(self, values: dict[str, float]) -> None:
        # Splits labelled by an earlier command with this k-means keep their scores.
        file = self.out / QUALITY
        before = read_json(file) if file.is_file() else {}
        kept = {split: of for split, of in before.items() if (self.out / f"{split}.km").is_file()}
        write_json(file, kept | {self.name: values})
        print(f"label: {self.name}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
