"""VoiceBank-DEMAND for SE: noisy speech of 28 speakers to learn from; two other speakers and other noises to test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.walk import walk_audio
from speechssl.errors import UserError
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row
from speechssl.files import read_lines

_URL = "https://datashare.ed.ac.uk/handle/10283/2791"
_LOGS = ("log_{part}.txt", "logfiles/log_{part}.txt")
_VALID = ("p226", "p287")
"""Speakers of the training set that s3prl holds out."""


def _need(name: str) -> Need:
    """Return a folder of the archive, as it is or at 16 kHz as s3prl's is."""
    return Need((f"{name}_16k", name), f"{_URL} ({name}.zip)")


_CLEAN, _NOISY = (
    {part: _need(f"{kind}_{part}_wav") for part in ("trainset_28spk", "testset")} for kind in ("clean", "noisy")
)


def _rows(place: Place) -> Parts:
    """Return rows with `clean`, `speaker`, `noise` and `snr` (in dB, as the logs say), as s3prl divides them."""
    known = list(_recordings(place.root, "trainset_28spk"))
    return {
        "train": [row for row in known if row["speaker"] not in _VALID],
        "valid": [row for row in known if row["speaker"] in _VALID],
        "test": list(_recordings(place.root, "testset")),
    }


def _recordings(root: Path, part: str) -> Iterator[Row]:
    noisy, clean = (needs[part].require(root) for needs in (_NOISY, _CLEAN))
    heard = _noises(root, part)
    for found in walk_audio(noisy):
        path = noisy / found.path
        speaker = path.stem.split("_")[0]
        noise, snr = heard.get(path.stem, ("", ""))
        known = {"speaker": speaker, "noise": noise, "snr": snr}
        yield {"id": path.stem, "path": str(path), "clean": str(clean / found.path), **known}


def _noises(root: Path, part: str) -> dict[str, tuple[str, str]]:
    """Return kind and level of the noise in each recording, of lines `p232_001 bus 17.5`; of none without the log."""
    logs = (root / name.format(part=part) for name in _LOGS)
    log = next((file for file in logs if file.is_file()), None)
    if log is None:
        return {}
    heard = {}
    for number, line in enumerate(read_lines(log), start=1):
        if not line.strip():
            continue
        try:
            name, noise, snr = line.split()
        except ValueError as error:
            raise UserError(f"{log} line {number} is not `recording noise level`; get it again") from error
        heard[name] = (noise, snr)
    return heard


SE = CorpusTask(
    "VoiceBank-DEMAND",
    ("VoiceBank-DEMAND", "voicebank", "noisy-vctk-16k", "DS_10283_2791"),
    (*_NOISY.values(), *_CLEAN.values()),
    _rows,
    optional=tuple(name.format(part=part) for part in _NOISY for name in _LOGS),
    metadata=("speaker", "noise", "snr"),
)
