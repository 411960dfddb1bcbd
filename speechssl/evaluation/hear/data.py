"""Reads a task's folder in HEAR's format, as hear-preprocess 2021.1.1 writes it:

- `task_metadata.json`: `task_name`, `embedding_type` (`scene` or `event`), `prediction_type` (`multiclass` or
  `multilabel`), `split_mode`, `splits`, `evaluation` (names of the scores, the first one decides)
- `labelvocabulary.csv`: columns `idx` and `label`
- `<split>.json`: file name -> list of labels, or of events (`label`, `start` and `end` in milliseconds)
- `<sample rate>/<split>/<file name>`: the audio
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechssl.audio import SAMPLE_RATE, AudioError, audio_length
from speechssl.data.manifest import leaves_root
from speechssl.errors import UserError
from speechssl.evaluation.hear.events import Event
from speechssl.evaluation.hear.folders import METADATA
from speechssl.evaluation.hear.metrics import EVENT_SCORES, SCENE_SCORES
from speechssl.evaluation.recordings import Recording
from speechssl.files import changes, checksum_of, read_json, require_file, require_utf8
from speechssl.threads import available_cores

VOCABULARY = "labelvocabulary.csv"
MIN_FOLDS = 3
"""One to test, one to choose on, and one to learn from."""

Labels = Sequence[int] | Sequence[Event]
"""What is known of one recording: its classes, or its events."""


@dataclass(frozen=True)
class Division:
    """Positions of the recordings of each part."""

    name: str
    """What is tested, e.g. `fold00`."""
    train: list[int]
    valid: list[int]
    test: list[int]


@dataclass(frozen=True)
class Metadata:
    """What a task is, from `task_metadata.json`."""

    folder: Path
    events: bool
    """Whether sounds are found in time (`embedding_type` `event`), or whole recordings are classified (`scene`)."""
    multilabel: bool
    """Whether a recording or frame has any number of classes; else it has one."""
    split_mode: str
    splits: list[str]
    """Names of the parts, or of the folds."""
    scores: list[str]
    """Names; the first one decides."""
    choose_on_loss: bool
    """Whether networks are chosen by their loss, since the score takes too long (MAESTRO)."""
    postprocessing: dict[str, list[float]]
    """Event tasks: `median_filter_ms` and `min_duration` to choose from."""
    training: dict[str, int] = field(default_factory=dict)
    """`max_epochs` and `check_val_every_n_epoch`, where the task has its own."""


@dataclass
class TaskData:
    """The recordings of a task, in order of their splits and names."""

    metadata: Metadata
    classes: list[str]
    """Names by index."""
    recordings: list[Recording]
    """`split` is the name of the part or fold."""
    labels: list[Labels]
    """Of each recording."""
    divisions: list[Division]
    sample_rate: int
    """Of the folder that the audio was read from."""

    def fingerprint(self) -> str:
        """Return a checksum of names, splits and labels, and of changes to the recordings."""
        rows = zip(self.recordings, self.labels, strict=True)
        facts = [[recording.name, recording.split, str(labels)] for recording, labels in rows]
        return checksum_of([facts, changes(recording.audio for recording in self.recordings)])


POSTPROCESSING = {"median_filter_ms": [250.0], "min_duration": [125.0, 250.0]}
"""hear-eval-kit's, where a task has none of its own."""


def read_metadata(folder: Path) -> Metadata:
    """Read what a task is.

    Raises:
        UserError: a field is missing, or has a value that HEAR does not know.
    """
    file = folder / METADATA
    found = read_json(file)
    _require(isinstance(found, dict), file, "is no mapping")
    embedding = _one_of(found, "embedding_type", ("scene", "event"), file)
    prediction = _one_of(found, "prediction_type", ("multiclass", "multilabel"), file)
    mode = _one_of(found, "split_mode", ("trainvaltest", "new_split_kfold", "presplit_kfold"), file)
    events = embedding == "event"
    _require(
        not events or prediction == "multilabel", file, "has events that are not multilabel, which HEAR has none of"
    )
    known = EVENT_SCORES if events else SCENE_SCORES
    scores = _texts(found, "evaluation", file)
    unknown = [name for name in scores if name not in known]
    _require(not unknown, file, f"has the scores {', '.join(unknown)} in evaluation (known: {', '.join(known)})")
    splits = ["train", "valid", "test"] if mode == "trainvaltest" else sorted(set(_texts(found, "splits", file)))
    _require(mode == "trainvaltest" or len(splits) >= MIN_FOLDS, file, f"has fewer than {MIN_FOLDS} folds in splits")
    outside = [split for split in splits if leaves_root(split)]
    _require(not outside, file, f"has the fold {', '.join(outside)} in splits, which is outside of its folder")
    special = _mapping(found, "evaluation_params", file)
    training = _grid(special, "task_specific_param_grid", ("max_epochs", "check_val_every_n_epoch"), 1, file)
    postprocessing = _grid(special, "event_postprocessing_grid", tuple(POSTPROCESSING), 0, file)
    return Metadata(
        folder=folder,
        events=events,
        multilabel=prediction == "multilabel",
        split_mode=mode,
        splits=splits,
        scores=scores,
        choose_on_loss=not found.get("use_scoring_for_early_stopping", True),
        postprocessing=postprocessing or POSTPROCESSING,
        training={name: int(numbers[0]) for name, numbers in training.items()},
    )


def read_task(metadata: Metadata, workers: int = 0) -> TaskData:
    """Read the recordings of a task and their labels.

    Args:
        metadata: of the task.
        workers: threads that read the headers of the audio; 0 is one a core.

    Raises:
        UserError: a file is missing or broken, or a label is not in the vocabulary.
    """
    classes = _read_vocabulary(metadata.folder / VOCABULARY)
    folder = _audio_folder(metadata)
    entries = list(_entries(metadata, {name: index for index, name in enumerate(classes)}))
    lengths = _lengths([folder / split / name for split, name, _ in entries], workers)
    recordings = [
        Recording(f"{split}/{name}", folder, samples, split, {})
        for (split, name, _), samples in zip(entries, lengths, strict=True)
    ]
    data = TaskData(metadata, classes, recordings, [labels for _, _, labels in entries], [], int(folder.name))
    data.divisions = divide(metadata, [recording.split for recording in recordings])
    return data


def recording_files(metadata: Metadata) -> list[Path]:
    """Return the audio of a task, whether it is there or not.

    Raises:
        UserError: a list of recordings is missing or broken.
    """
    folder = _audio_folder(metadata)
    return [folder / split / name for split in metadata.splits for name in _listed(metadata, split)]


def divide(metadata: Metadata, splits: Sequence[str]) -> list[Division]:
    """Return the divisions: one, or one a fold, which is tested while the following one is chosen on.

    This is hear-eval-kit's order: with five folds, `fold00` is tested, `fold01` is chosen on, the others are learnt
    from; at last `fold04` is tested and `fold00` chosen on.

    Args:
        metadata: of the task.
        splits: name of the part or fold of each recording.
    """
    members = {split: [row for row, name in enumerate(splits) if name == split] for split in metadata.splits}
    if metadata.split_mode == "trainvaltest":
        return [Division("test", members["train"], members["valid"], members["test"])]
    divisions = []
    for number, tested in enumerate(metadata.splits):
        chosen_on = metadata.splits[(number + 1) % len(metadata.splits)]
        train = [row for row, name in enumerate(splits) if name not in (tested, chosen_on)]
        divisions.append(Division(tested, train, members[chosen_on], members[tested]))
    return divisions


def _entries(metadata: Metadata, index: dict[str, int]) -> Iterator[tuple[str, str, Labels]]:
    """Yield split, file name and labels of all recordings, sorted."""
    for split in metadata.splits:
        file = _list_file(metadata, split)
        for name, labels in sorted(_listed(metadata, split).items()):
            _require(isinstance(labels, list), file, f"has no list of labels for {name}")
            if metadata.events:
                yield split, name, [_event(event, index, file, name) for event in labels]
                continue
            _require(
                metadata.multilabel or len(labels) == 1, file, f"has {len(labels)} labels for {name}, which needs one"
            )
            yield split, name, [_index(label, index, file, name) for label in labels]


def _list_file(metadata: Metadata, split: str) -> Path:
    return metadata.folder / f"{split}.json"


def _listed(metadata: Metadata, split: str) -> dict[str, Any]:
    """Return the labels of each recording, as they are written."""
    file = _list_file(metadata, split)
    found = read_json(file)
    _require(isinstance(found, dict) and bool(found), file, "names no recording")
    for name in found:
        _require(not leaves_root(name), file, f"names the recording '{name}', which is outside of its folder")
    return dict(found)


def _event(event: Any, index: dict[str, int], file: Path, name: str) -> Event:
    fits = isinstance(event, dict) and "label" in event
    fits = fits and all(isinstance(event.get(key), (int, float)) for key in ("start", "end"))
    _require(fits, file, f"has no label, start or end (milliseconds) of an event in {name}")
    start, end = float(event["start"]), float(event["end"])
    _require(-math.inf < start <= end < math.inf, file, f"has an event from {start:g} to {end:g} ms in {name}")
    return Event(_index(event["label"], index, file, name), start, end)


def _index(label: Any, index: dict[str, int], file: Path, name: str) -> int:
    # Labels are numbers in some tasks (pitches), and always text in the vocabulary.
    _require(str(label) in index, file, f"has the label '{label}' for {name}, which {VOCABULARY} lacks")
    return index[str(label)]


def _read_vocabulary(file: Path) -> list[str]:
    with open(require_file(file), encoding="utf-8-sig", newline="") as lines, require_utf8(file):
        rows = list(csv.DictReader(lines))
    try:
        names = {int(row["idx"]): row["label"] for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} has no columns idx (numbers) and label; unpack the task again") from error
    _require(len(names) > 1 and sorted(names) == list(range(len(rows))), file, "does not number its labels from 0")
    classes = [names[index] for index in sorted(names)]
    _require(all(classes), file, "has a number without a label")
    twice = [label for label, count in Counter(classes).items() if count > 1]
    _require(not twice, file, f"has two numbers of the label {', '.join(twice)}")
    return classes


def _audio_folder(metadata: Metadata) -> Path:
    """Return the folder of the rate to read: that of all encoders, else the smallest above it, else the largest."""
    folder = metadata.folder
    rates = sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit() and path.is_dir())
    if not rates:
        raise UserError(f"{folder} has no folder of audio, named by its sample rate (expected {folder / '48000'})")
    return folder / str(next((rate for rate in rates if rate >= SAMPLE_RATE), rates[-1]))


def _lengths(files: Sequence[Path], workers: int) -> list[int]:
    with ThreadPoolExecutor(workers or available_cores()) as pool:
        return list(pool.map(_length, files))


def _length(file: Path) -> int:
    try:
        return audio_length(file)
    except AudioError as error:
        raise UserError(
            f"{file} cannot be read ({error}); unpack the task again, or delete {file.parents[1]} if s3prl made it"
        ) from error


def _require(holds: bool, file: Path, otherwise: str) -> None:
    if not holds:
        raise UserError(f"{file} {otherwise}; unpack the task again, or mend it")


def _one_of(found: dict[str, Any], name: str, known: tuple[str, ...], file: Path) -> str:
    value = found.get(name)
    _require(value in known, file, f"has {name}={value} (known: {', '.join(known)})")
    return str(value)


def _mapping(found: dict[str, Any], name: str, file: Path) -> dict[str, Any]:
    value = found.get(name)
    _require(value is None or isinstance(value, dict), file, f"has no mapping in {name}")
    return dict(value or {})


def _grid(found: dict[str, Any], name: str, keys: Sequence[str], least: float, file: Path) -> dict[str, list[float]]:
    """Return the numbers to choose from, of those of the keys that are there."""
    grid = {key: values for key, values in _mapping(found, name, file).items() if key in keys}
    for key, values in grid.items():
        fits = isinstance(values, list) and bool(values)
        fits = fits and all(isinstance(value, (int, float)) and least <= value < math.inf for value in values)
        _require(fits, file, f"has no list of numbers of {least} or more in {key} of {name}")
    return grid


def _texts(found: dict[str, Any], name: str, file: Path) -> list[str]:
    value = found.get(name)
    fits = isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)
    _require(fits, file, f"has no list of names in {name}")
    return list(value or [])
