"""Pseudo-labels of a target's unlabelled recordings, to train on before the real labels (prediction pre-training).

Training on a classifier's own predictions, and after that on the real labels: Guo, arXiv 2011.09031. Which predictions
are kept is HAST's rule (Schröder and Heyer, arXiv 2406.09206): the classifier is confident, and the nearest neighbours
in the space of its encoder vote for the same class. Here labelled recordings vote, each weighted by the inverse of its
distance, so that a class with few of them can win; in HAST predictions do. As in HAST, the labelled recordings are
trained on beside the kept ones, so no class is missing.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from speechssl.audio import SAMPLE_RATE
from speechssl.data.manifest import AUDIO, Manifest, write_manifest
from speechssl.data.metadata import METADATA, metadata_file, write_metadata
from speechssl.data.tables import write_table
from speechssl.errors import UserError, few
from speechssl.files import read_json, write_text
from speechssl.models.device import pick_device
from speechssl.progress import progress
from speechssl.training.clips.classes import class_numbers, read_classes
from speechssl.training.clips.classifier import BEST, Classifier, load_classifier
from speechssl.training.clips.dataset import ClipDataset
from speechssl.training.clips.reader import HeldOutReader, Rows
from speechssl.training.clips.settings import ClipDataSettings, PseudoLabelSettings
from speechssl.training.dataset import AudioCache

TABLE = "pseudo_labels.tsv"
"""Every recording that had no class: its pseudo-label, what the neighbours vote, and whether it is kept."""

KEPT, OUTVOTED, DOUBTFUL = "kept", "neighbours disagree", "not confident"
"""Outcomes; a pseudo-label that has both faults is counted as outvoted."""

Floats = npt.NDArray[np.float32]

_BATCH = 32
"""Clips encoded together. Changes no result beyond rounding."""
_VOTES = 10_000
"""Recordings whose neighbours are found together: their vectors are copied."""


@dataclass(frozen=True)
class Judged:
    """Pseudo-labels of the unlabelled recordings, each `(unlabelled,)`."""

    rows: Rows
    """Their rows in the manifest."""
    predicted: Rows
    """Classes by the classifier: the pseudo-labels."""
    voted: Rows
    """Classes by the neighbours."""
    confidence: Floats
    """Probability of the predicted class."""
    outcomes: list[str]
    """`KEPT`, or why not."""


def judge(vectors: Floats, posteriors: Floats, labels: Rows, neighbours: int, confidence: float) -> Judged:
    """Return the pseudo-labels of all recordings without a label, and whether each is kept.

    Args:
        vectors: `(recordings, dim)` by the classifier's encoder.
        posteriors: `(recordings, classes)` by the classifier.
        labels: `(recordings,)`; -1 where no label is known. One at least is.
        neighbours: how many vote at most.
        confidence: a pseudo-label is kept where its probability is higher.
    """
    # Imported here: fine-tuning must not wait for scikit-learn.
    from sklearn.neighbors import KNeighborsClassifier

    known, rows = np.flatnonzero(labels >= 0), np.flatnonzero(labels < 0)
    voters = KNeighborsClassifier(min(neighbours, len(known)), weights="distance", metric="cosine")
    voters.fit(vectors[known], labels[known])
    blocks = (rows[first : first + _VOTES] for first in range(0, len(rows), _VOTES))
    voted = np.concatenate([voters.predict(vectors[block]) for block in blocks])
    predicted, certainty = posteriors.argmax(axis=1)[rows], posteriors.max(axis=1)[rows]
    outcomes = np.where(voted != predicted, OUTVOTED, np.where(certainty > confidence, KEPT, DOUBTFUL))
    return Judged(rows, predicted, voted, certainty, outcomes.tolist())


@dataclass(frozen=True)
class PseudoLabels:
    """Pseudo-labels of a manifest's recordings, and the labels that were there."""

    manifest: Manifest
    """The recordings."""
    column: str
    """Of the classes."""
    classes: list[str]
    """Their names."""
    cells: list[str]
    """The class of each recording, empty where it is not known."""
    judged: Judged
    """Those not known."""

    @property
    def kept(self) -> dict[int, str]:
        """Row -> pseudo-label that is kept."""
        judged = self.judged
        each = zip(judged.rows.tolist(), judged.predicted.tolist(), judged.outcomes, strict=True)
        return {row: self.classes[predicted] for row, predicted, outcome in each if outcome == KEPT}

    def write(self, out: Path) -> None:
        """Write `pseudo_labels.tsv`, and manifest and metadata of the recordings with a label, real or kept."""
        self.write_table(out / TABLE)
        kept = self.kept
        cells = [kept.get(row, cell) for row, cell in enumerate(self.cells)]
        _write_training_part(out, self.manifest, self.column, cells)

    def write_table(self, path: Path) -> None:
        """Write what became of every recording without a class."""
        judged, paths, classes = self.judged, self.manifest.paths, self.classes
        each = zip(judged.rows, judged.predicted, judged.voted, judged.confidence, judged.outcomes, strict=True)
        write_table(
            path,
            ["path", "class", "vote", "confidence", "outcome"],
            (
                [paths[row], classes[predicted], classes[voted], f"{confidence:.4f}", outcome]
                for row, predicted, voted, confidence, outcome in each
            ),
        )

    def summary(self) -> list[str]:
        """Return lines that count what was kept, and name the classes of which there is nothing."""
        counts, kept = Counter(self.judged.outcomes), self.kept
        others = ", ".join(f"{counts[outcome]} {outcome}" for outcome in (OUTVOTED, DOUBTFUL))
        lines = [f"pseudo-labels: {len(kept)} of {len(self.judged.rows)} recordings kept ({others})"]
        without = sorted(set(self.classes) - set(kept.values()))
        return [*lines, f"pseudo-labels: classes without any: {', '.join(without)}"] if without else lines


def pseudo_label(settings: PseudoLabelSettings) -> None:
    """Label the unlabelled recordings of a manifest, and write what to train on.

    In `settings.out`: `pseudo_labels.tsv`, and, under the manifest's own name and in `metadata.tsv`, the labelled
    recordings and those whose pseudo-label is kept.

    Raises:
        UserError: there is nothing to label or nothing to vote, labels that the classifier does not know, or nothing
            is kept (`pseudo_labels.tsv` is written then, and says why).
    """
    out = Path(settings.out)
    if out.resolve() == Path(settings.manifest).parent.resolve():
        raise UserError(f"out={out} holds {settings.manifest} itself, which would be written over: give another folder")
    found = find_pseudo_labels(settings)
    if not found.kept:
        # Those of an earlier command are not of this table.
        for file in (out / Path(settings.manifest).name, out / METADATA):
            file.unlink(missing_ok=True)
        found.write_table(out / TABLE)
        raise UserError(
            f"none of {len(found.judged.rows)} pseudo-labels is kept, {out / TABLE} says why: "
            f"lower confidence={settings.confidence:g}, or fine-tune for longer"
        )
    found.write(out)
    print("\n".join(found.summary()))
    print(f"pseudo-labels: all are listed in {out / TABLE}")


def find_pseudo_labels(settings: PseudoLabelSettings) -> PseudoLabels:
    """Return the pseudo-labels of the unlabelled recordings of a manifest.

    Raises:
        UserError: there is nothing to label or nothing to vote, or labels that the classifier does not know.
    """
    best = best_folder(settings.classifier)
    model, classes = load_classifier(best)
    run = _described(best / "best.json")
    data = ClipDataset(settings.manifest, ClipDataSettings(seconds=run["seconds"]), 0, AudioCache(0.0))
    cells = read_classes(data.manifest, run["column"])
    labels = _labels(cells, classes, data.manifest, run["column"])
    judged = judge(*_predict(model, data, settings), labels, settings.neighbours, settings.confidence)
    return PseudoLabels(data.manifest, run["column"], classes, cells, judged)


def pseudo_label_inputs(settings: PseudoLabelSettings) -> Iterable[Path]:
    """Return the files that decide the pseudo-labels."""
    manifest = Path(settings.manifest)
    yield from (manifest, manifest.with_name(AUDIO), metadata_file(manifest))
    best = best_folder(settings.classifier)
    names = ("best.json", "encoder.json", "encoder.safetensors", "classifier.safetensors")
    yield from (best / name for name in names)


def pseudo_label_outputs(settings: PseudoLabelSettings) -> Iterable[Path]:
    """Return the files that are made."""
    out = Path(settings.out)
    return [out / TABLE, out / Path(settings.manifest).name, out / METADATA]


def _described(file: Path) -> dict[str, Any]:
    """Return what is written of a classifier."""
    run: dict[str, Any] = read_json(file)
    if not {"column", "seconds"} <= run.keys():
        raise UserError(f"{file} does not say what its classes are: it is of an earlier version; fine-tune again")
    return run


def best_folder(classifier: str) -> Path:
    """Return the folder of a run's best classifier, given the run's folder or that folder itself."""
    folder = Path(classifier)
    return folder / BEST if (folder / BEST).is_dir() else folder


def _labels(cells: list[str], classes: list[str], manifest: Manifest, column: str) -> Rows:
    """Return the class of each recording, -1 where it is not known."""
    strange = sorted(set(cells) - {"", *classes})
    if strange:
        raise UserError(
            f"{metadata_file(manifest.file)} has a {column} that the classifier has not learned: {few(strange)}; "
            "fine-tune on all classes first"
        )
    count = len(cells) - cells.count("")
    if count in (0, len(cells)):
        raise UserError(
            f"{count} of the {len(cells)} recordings of {manifest.file} have a {column}: "
            "pseudo-labels need some that have one, and some that have none"
        )
    return class_numbers(cells, classes)


@torch.inference_mode()
def _predict(model: Classifier, data: ClipDataset, settings: PseudoLabelSettings) -> tuple[Floats, Floats]:
    """Return the encoder's vector and the posterior of the middle of each recording."""
    device = pick_device(settings.device)
    model.to(device)
    vectors, posteriors = torch.empty(0), torch.empty(0)
    with contextlib.closing(HeldOutReader(data, len(data), _BATCH, settings.workers)) as reader:
        for [batch] in progress(reader, "predicting", "batch", total=-(-len(data) // _BATCH)):
            pooled = model.pooled(batch.waveforms[0].to(device))
            classes = model.classify(pooled).softmax(dim=1)
            if not len(vectors):
                # Whole at once: vectors of a large corpus are not to be in memory twice.
                vectors, posteriors = (torch.empty(len(data), one.shape[1]) for one in (pooled, classes))
            vectors[batch.clips], posteriors[batch.clips] = pooled.float().cpu(), classes.cpu()
    return vectors.numpy(), posteriors.numpy()


def _write_training_part(out: Path, manifest: Manifest, column: str, cells: list[str]) -> None:
    """Write manifest and metadata of the recordings with a label, real or not."""
    rows = [row for row, cell in enumerate(cells) if cell]
    paths, samples = [manifest.paths[row] for row in rows], manifest.samples[rows].tolist()
    write_manifest(out / manifest.file.name, manifest.root, zip(paths, samples, strict=True))
    audio = manifest.file.with_name(AUDIO)
    if audio.is_file():
        write_text(out / AUDIO, audio.read_text(encoding="utf-8"))
    table = [
        {"path": path, "split": manifest.file.stem, "seconds": f"{length / SAMPLE_RATE:.3f}", column: cells[row]}
        for row, path, length in zip(rows, paths, samples, strict=True)
    ]
    write_metadata(out / METADATA, [column], table)
