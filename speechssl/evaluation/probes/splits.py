"""Which recordings a probe learns from, is tuned on, and is tested on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechssl.evaluation.recordings import Recording

_DEV_PARTS = 5  # one part of five


def part_of(recording: Recording) -> str:
    """Return whether a recording is `train`, `dev` or `test`: every split is tested that is for neither of the others.

    So it is in `speechssl manifest`, where LibriSpeech has the splits `test-clean` and `test-other`, for instance.
    """
    if recording.split.startswith(("valid", "dev")):
        return "dev"
    return "train" if not recording.split or recording.split.startswith("train") else "test"


def own_parts(recordings: Sequence[Recording]) -> dict[str, list[Recording]] | None:
    """Return the recordings of each part; None where none are tested, or none are left to learn from."""
    parts: dict[str, list[Recording]] = {"train": [], "dev": [], "test": []}
    for recording in recordings:
        parts[part_of(recording)].append(recording)
    return parts if parts["train"] and parts["test"] else None


class NotProbed(Exception):
    """A column cannot be probed; the message is the reason."""


@dataclass
class Labelled:
    """Recordings with a class each, in order of their paths."""

    recordings: list[Recording]
    classes: list[str]
    speakers: list[str] | None
    """Who speaks, where that is known and is not what is probed."""
    without_speaker: int = 0
    """Recordings left out because their speaker is not known."""

    def __len__(self) -> int:
        return len(self.recordings)

    def keep(self, rows: Sequence[int]) -> Labelled:
        """Return only these rows."""
        return Labelled(
            [self.recordings[row] for row in rows],
            [self.classes[row] for row in rows],
            [self.speakers[row] for row in rows] if self.speakers is not None else None,
        )


@dataclass
class Fold:
    """One division of recordings."""

    train: Labelled
    dev: Labelled
    test: Labelled


@dataclass
class Plan:
    """How a column is probed."""

    folds: list[Fold]
    how: str
    """In words, for the results."""
    left_out: int
    """Recordings of unknown speakers, of classes that are too rare, or of classes that no training recording has."""

    @property
    def classes(self) -> list[str]:
        """All classes that a probe learns, sorted."""
        return sorted({name for fold in self.folds for name in fold.train.classes})


def label(recordings: Sequence[Recording], column: str, speaker_column: str) -> Labelled:
    """Return the recordings that have a value in the column, in order of their paths whatever order they come in.

    Where most of them name their speaker, the others are left out: nothing says that they are not the same speakers.
    """
    known = [recording for recording in recordings if column in recording.labels]
    known.sort(key=lambda recording: recording.place)
    named = [recording for recording in known if speaker_column in recording.labels]
    grouped = column != speaker_column and 2 * len(named) > len(known)
    kept = named if grouped else known
    speakers = [recording.labels[speaker_column] for recording in kept] if grouped else None
    return Labelled(kept, [recording.labels[column] for recording in kept], speakers, len(known) - len(kept))


def plan_folds(labelled: Labelled, min_count: int, folds: int, seed: int) -> Plan:
    """Test every recording once: folds whose speakers are disjoint where every class has several speakers.

    Where some classes have one speaker only, these classes are left out if two others remain; else the same speakers
    are in all parts, which `Plan.how` says.

    Raises:
        NotProbed: fewer than two classes with `min_count` recordings.
    """
    kept = _frequent(labelled, min_count)
    by_speaker = _with_several_speakers(kept)
    kept = Labelled(kept.recordings, kept.classes, None) if by_speaker is None else by_speaker
    count = min(folds, _largest_division(kept))
    parts = [fold_rows for _, fold_rows in _division(kept, count, seed)]
    divided = []
    for test in parts:
        rest = kept.keep(np.setdiff1d(np.arange(len(kept)), test).tolist())
        train, dev = _split_dev(rest, seed)
        divided.append(Fold(train, dev, kept.keep(test.tolist())))
    speakers = "other speakers" if kept.speakers is not None else "same speakers"
    return Plan(divided, f"{count} folds, {speakers}", labelled.without_speaker + len(labelled) - len(kept))


def plan_test(train: Labelled, test: Labelled, min_count: int, seed: int, dev: Labelled | None = None) -> Plan:
    """Learn from `train`, test on `test`; the dev part is `dev`, or a part of `train`.

    Raises:
        NotProbed: fewer than two classes to learn, or no test recording of a class that is learnt.
    """
    kept = _frequent(train, min_count)
    known = set(kept.classes)
    tested = test.keep([row for row, name in enumerate(test.classes) if name in known])
    if not len(tested):
        raise NotProbed("no test recording has a class that is in the training part")
    left_out = train.without_speaker + len(train) - len(kept) + test.without_speaker + len(test) - len(tested)
    how = _relation(kept, tested)
    if dev is not None and len(dev):
        dev = dev.keep([row for row, name in enumerate(dev.classes) if name in known])
    if dev is None or not len(dev):
        kept, dev = _split_dev(kept, seed)
    return Plan([Fold(kept, dev, tested)], how, left_out)


def _relation(train: Labelled, test: Labelled) -> str:
    if train.speakers is None or test.speakers is None:
        return "test part"
    common = set(train.speakers) & set(test.speakers)
    return "test part, same speakers" if common else "test part, other speakers"


def _frequent(labelled: Labelled, min_count: int) -> Labelled:
    counts = Counter(labelled.classes)
    if len(counts) == 1:
        raise NotProbed(f"one value only ('{labelled.classes[0]}')")
    kept = labelled.keep([row for row, name in enumerate(labelled.classes) if counts[name] >= min_count])
    if len(set(kept.classes)) < 2:
        raise NotProbed(f"fewer than two of its {len(counts)} values have {min_count} recordings")
    return kept


def _with_several_speakers(labelled: Labelled) -> Labelled | None:
    """Return the classes with two speakers or more; None where that leaves fewer than two classes."""
    if labelled.speakers is None:
        return None
    speakers = _speakers_of(labelled)
    kept = labelled.keep([row for row, name in enumerate(labelled.classes) if len(speakers[name]) > 1])
    return kept if len(set(kept.classes)) > 1 else None


def _speakers_of(labelled: Labelled) -> dict[str, set[str]]:
    speakers: dict[str, set[str]] = {name: set() for name in labelled.classes}
    for name, speaker in zip(labelled.classes, labelled.speakers or [], strict=True):
        speakers[name].add(speaker)
    return speakers


def _largest_division(labelled: Labelled) -> int:
    """Return into how many parts every class can be divided."""
    if labelled.speakers is None:
        return min(Counter(labelled.classes).values())
    return min(len(speakers) for speakers in _speakers_of(labelled).values())


def _split_dev(labelled: Labelled, seed: int) -> tuple[Labelled, Labelled]:
    """Return training and dev part: of disjoint speakers where every class has two, else of the same speakers."""
    count = _largest_division(labelled)
    if labelled.speakers is not None and count < 2:
        labelled = Labelled(labelled.recordings, labelled.classes, None)
        count = _largest_division(labelled)
    if count < 2:
        raise NotProbed("a class has a single recording to learn from")
    train, dev = _division(labelled, min(_DEV_PARTS, count), seed)[0]
    return labelled.keep(train.tolist()), labelled.keep(dev.tolist())


def _division(labelled: Labelled, parts: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (other rows, rows) of each part."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # slow to import

    rows = np.zeros(len(labelled))
    if labelled.speakers is not None:
        divider = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
        return [(a, b) for a, b in divider.split(rows, labelled.classes, labelled.speakers) if len(b)]
    return list(StratifiedKFold(parts, shuffle=True, random_state=seed).split(rows, labelled.classes))
