"""A linear phone probe on single frames, trained on some speakers and tested on others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from speechssl.errors import UserError, nearest
from speechssl.evaluation.extract import Hidden, Request
from speechssl.evaluation.linear import Parts, probe
from speechssl.evaluation.probes.columns import class_indices, summarise
from speechssl.evaluation.probes.settings import EvaluateSettings, ProbeSettings
from speechssl.evaluation.probes.splits import NotProbed, own_parts
from speechssl.evaluation.probes.tasks import Score, accuracy, most_frequent_share
from speechssl.evaluation.recordings import Recording
from speechssl.evaluation.sampling import sample
from speechssl.models.encoder import Encoder

_TEST_SHARE = 0.25
_DEV_SHARE = 0.15


class PhoneTask:
    """Phones of one folder with alignments."""

    def __init__(self, name: str, folder: str, parts: dict[str, list[Recording]], settings: EvaluateSettings) -> None:
        self.name = name
        self._settings = settings
        frames = settings.probe.test_frames
        wanted = {"train": settings.probe.train_frames, "dev": max(1, frames // 2), "test": frames}
        self._parts = {part: sample(parts[part], wanted[part], settings.seed, lambda r: r.name) for part in parts}
        self._frames = {part: wanted[part] // len(members) for part, members in self._parts.items()}
        column = settings.probe.speaker_column
        self.description: dict[str, Any] = {
            "metric": "accuracy",
            "better": "more",
            "kind": "frames",
            "data": folder,
            "parts": {part: _who(recordings, column) for part, recordings in self._parts.items()},
            "left_out_phones": settings.probe.left_out_phones,
        }

    def requests(self) -> Iterable[Request]:
        """A sample of frames with their phones."""
        for part, recordings in self._parts.items():
            for recording in recordings:
                yield Request(recording, phone_frames=self._frames[part])

    def score(self, hidden: Hidden, encoder: Encoder) -> Score:
        """Probe every layer and their weighted sum."""
        names = {part: self._phones(hidden, part) for part in self._parts}
        classes = sorted(set(names["train"]))
        tensors = []
        for part in ("train", "dev", "test"):
            kept = [hidden.phones[recording.audio][0] for recording in self._parts[part]]
            tensors += [torch.cat(kept, dim=1), class_indices(names[part], classes)]
        settings = self._settings.probe
        result = probe(
            Parts(*tensors),
            len(classes),
            settings.regularisation,
            settings.iterations,
            settings.weighted_sum_steps,
            self._settings.seed,
        )
        score = summarise([result], names["test"], classes, accuracy)
        self.description["classes"] = len(classes)
        self.description["chance"] = most_frequent_share(names["test"], names["train"])
        score.details["frames"] = {part: len(phones) for part, phones in names.items()}
        return score

    def _phones(self, hidden: Hidden, part: str) -> list[str]:
        return [phone for recording in self._parts[part] for phone in hidden.phones[recording.audio][1]]


def phone_task(folder: str, recordings: list[Recording], settings: EvaluateSettings) -> PhoneTask:
    """Plan the phone probe of a folder: its own splits where some are tested, else seeded sets of speakers.

    Raises:
        UserError: no alignments.
        NotProbed: too few speakers to test on others.
    """
    left_out = set(settings.probe.left_out_phones)
    aligned = []
    for recording in recordings:
        phones = tuple(segment for segment in recording.phones if segment.phone not in left_out)
        if phones:
            aligned.append(replace(recording, phones=phones))
    if not aligned:
        raise UserError(f"{folder} has no phone times (alignments.tsv); leave it out of phones_dirs")
    column = settings.probe.speaker_column
    parts = own_parts(aligned)
    if parts is None:
        parts = _by_speaker(aligned, column, settings.seed, ("test", _TEST_SHARE), ("dev", _DEV_SHARE))
    elif not parts["dev"]:
        parts |= _by_speaker(parts["train"], column, settings.seed, ("dev", _DEV_SHARE))
    if not all(parts.values()):
        missing = next(part for part, members in parts.items() if not members)
        raise NotProbed(
            f"no recordings of known speakers for the part {missing}; it needs three speakers (column '{column}' of "
            "metadata.tsv), or the splits train, valid and test, or train and test and two speakers"
        )
    return PhoneTask(f"phones {Path(folder).name}", folder, parts, settings)


def require_phones(folders: Iterable[Sequence[Recording]], settings: EvaluateSettings) -> None:
    """Raise a `UserError` where a phone to leave out, other than by default, is in no alignment."""
    if settings.probe.left_out_phones == ProbeSettings().left_out_phones:
        return
    known = {segment.phone for recordings in folders for recording in recordings for segment in recording.phones}
    for phone in settings.probe.left_out_phones:
        if phone not in known:
            raise UserError(
                f"phones_dirs have no phone '{phone}'{nearest(phone, known)} "
                f"(known: {', '.join(sorted(known)) or 'none'}); mend probe.left_out_phones"
            )


def _by_speaker(
    recordings: list[Recording], column: str, seed: int, *shares: tuple[str, float]
) -> dict[str, list[Recording]]:
    """Give each part its share of the speakers, one at least; the others train. Unknown ones may be any: left out."""
    known = [recording for recording in recordings if column in recording.labels]
    speakers = sample({recording.labels[column] for recording in known}, len(known), seed, str)
    part_of: dict[str, str] = {}
    for part, share in shares:
        count = max(1, round(share * len(speakers)))
        taken = [speaker for speaker in speakers if speaker not in part_of][:count]
        part_of.update(dict.fromkeys(taken, part))
    parts: dict[str, list[Recording]] = {"train": [], **{part: [] for part, _ in shares}}
    for recording in known:
        parts[part_of.get(recording.labels[column], "train")].append(recording)
    return parts


def _who(recordings: Sequence[Recording], column: str) -> str:
    """Return the speakers of a part, or how many there are."""
    speakers = sorted({recording.labels.get(column, "?") for recording in recordings})
    return ", ".join(speakers) if len(speakers) <= 5 else f"{len(speakers)} speakers"
