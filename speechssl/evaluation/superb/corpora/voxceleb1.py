"""VoxCeleb1 for SID (the official identification split) and ASV (the official trials)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from speechssl.data.corpora import CorpusSettings, open_corpus
from speechssl.data.splits import draw
from speechssl.errors import UserError
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row
from speechssl.files import read_lines

_URL = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html"
_SPLIT = Need(("iden_split.txt",), f"{_URL[: _URL.rindex('/')]}/meta/iden_split.txt")
_AUDIO = Need(("wav", "dev/wav"), _URL)
_TRIALS = Need(("veri_test2.txt", "voxceleb1_test_v2.txt"), f"{_URL} (cleaned list of trial pairs)")
_META = ("vox1_meta.csv",)
_TEST_SPEAKERS = {f"id{number}" for number in range(10270, 10310)}
_HELD_OUT = 40
"""Speakers of the validation part of ASV, as many as the test part has."""


def _sid_rows(place: Place) -> Parts:
    """Return rows with `label`, the speaker, and `gender` where vox1_meta.csv is there."""
    parts: dict[str, list[Row]] = {"train": [], "valid": [], "test": []}
    for split, row in _listed(place.root):
        parts[split].append(row)
    return parts


def _asv_rows(place: Place) -> Parts:
    """Return the utterances of the test trials, and those of the other speakers.

    s3prl trains on all other speakers and has no validation. Here 40 of them, drawn by name, are the validation part.
    """
    rows = [row for _, row in _listed(place.root)]
    wanted = {trial[name] for trial in _test_trials(place) for name in ("first", "second")}
    held_out = _held_out({row["label"] for row in rows} - _TEST_SPEAKERS)
    others = [row for row in rows if row["label"] not in _TEST_SPEAKERS]
    return {
        "train": [row for row in others if row["label"] not in held_out],
        "valid": [row for row in others if row["label"] in held_out],
        "test": [row for row in rows if row["id"] in wanted],
    }


def _held_out(speakers: set[str]) -> set[str]:
    share = max(2, min(_HELD_OUT, len(speakers) // 20))
    return set(sorted(speakers, key=lambda speaker: draw(0, speaker))[:share])


def _asv_trials(place: Place, parts: Parts) -> Parts:
    """Return trials `label` (1: one speaker), `first`, `second` of valid and test."""
    return {"valid": list(_drawn_trials(parts["valid"])), "test": _test_trials(place)}


def _test_trials(place: Place) -> Sequence[Row]:
    """Read the official list: `1 speaker/video/utterance.wav speaker/video/utterance.wav` a line."""
    file = _TRIALS.require(place.root)
    trials = []
    for number, line in enumerate(read_lines(file), start=1):
        try:
            label, first, second = line.split()
        except ValueError as error:
            raise UserError(f"{file} line {number} is not `1|0 utterance utterance`; get it again") from error
        trials.append({"label": label, "first": _name(first), "second": _name(second)})
    if not trials:
        raise UserError(f"{file} has no trials; get it again")
    return trials


def _drawn_trials(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield two trials an utterance: with the next one of its speaker, and with one of somebody else."""
    by_speaker: Mapping[str, list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["id"]):
        by_speaker[row["label"]].append(row["id"])
    for speaker, names in by_speaker.items():
        strangers = [name for other, theirs in by_speaker.items() if other != speaker for name in theirs]
        for name, following in zip(names, [*names[1:], names[0]], strict=True):
            if following != name:
                yield {"label": "1", "first": name, "second": following}
            if strangers:
                yield {"label": "0", "first": name, "second": strangers[int(draw(0, name) * len(strangers))]}


def _name(path: str) -> str:
    """Return the id of `speaker/video/utterance.wav`."""
    return path.removesuffix(".wav").replace("/", "-")


def _listed(root: Path) -> Iterator[tuple[str, Row]]:
    """Yield part and row of every utterance of iden_split.txt."""
    for entry in open_corpus(CorpusSettings(name="voxceleb1", audio_dir=str(root))).entries():
        if entry.split:
            path = root / entry.path
            name = _name("/".join(path.parts[-3:]))
            row = {"id": name, "path": str(path), "label": entry.labels["speaker"], "gender": entry.labels["gender"]}
            yield entry.split, row


_FOLDERS = ("VoxCeleb1", "Voxceleb1", "voxceleb1")

SID = CorpusTask("VoxCeleb1", _FOLDERS, (_SPLIT, _AUDIO), _sid_rows, metadata=("gender",), optional=_META)
ASV = CorpusTask(
    "VoxCeleb1 with trials",
    _FOLDERS,
    (_SPLIT, _TRIALS, _AUDIO),
    _asv_rows,
    metadata=("gender",),
    optional=_META,
    beside=_asv_trials,
)
