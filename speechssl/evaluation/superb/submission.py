"""Predictions as s3prl's downstream evaluation writes them, for the leaderboard of SUPERB.

s3prl's `submit/submit.py` takes a folder a task (`--ks FOLDER`, `--asr_no_lm FOLDER`, `--sv FOLDER` ...), picks the
files it knows, and packs them. Utterances are called as s3prl calls them, by the paths of the official corpora.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechssl.evaluation.superb.data import TaskData

Audio = Mapping[str, Path]
"""Name of a test utterance -> its file."""


@dataclass(frozen=True)
class Layout:
    """A file of one task."""

    file: str
    """Its name, with `{fold}` for the number of the tested fold."""
    line: Callable[[Audio, str, Any], str | None]
    """Makes a line of what is kept of a prediction, and of its name; None where it has nothing for this file."""


def _stem(path: Path) -> str:
    return path.stem


def _two_parts(path: Path) -> str:
    return "-".join(path.parts[-2:])


def _three_parts(path: Path) -> str:
    return Path("-".join(path.parts[-3:])).stem


def _text(audio: Audio, name: str, prediction: str) -> str:
    return f"{_stem(audio[name])} {prediction}"


def _best_path(audio: Audio, name: str, prediction: str | Mapping[str, str]) -> str:
    return _text(audio, name, prediction if isinstance(prediction, str) else prediction["best_path"])


def _with_lm(audio: Audio, name: str, prediction: str | Mapping[str, str]) -> str | None:
    return None if isinstance(prediction, str) else _text(audio, name, prediction["with_lm"])


def _emotion(audio: Audio, name: str, prediction: list[str]) -> str:
    return f"{_stem(audio[name])} {prediction[0]}"


def _keyword(audio: Audio, name: str, prediction: list[str]) -> str:
    return f"{_two_parts(audio[name])} {prediction[0]}"


def _speaker(audio: Audio, name: str, prediction: list[str]) -> str:
    return f"{_three_parts(audio[name])} {prediction[0]}"


def _intent(audio: Audio, name: str, prediction: list[str]) -> str:
    return ",".join([_stem(audio[name]), *prediction])


def _trial(audio: Audio, name: str, prediction: float) -> str:
    first, second = (_three_parts(audio[utterance]) for utterance in name.split())
    return f"{first}_{second} {prediction}"


LAYOUTS: Mapping[str, tuple[Layout, ...]] = {
    "pr": (Layout("test-hyp.ark", _text),),
    "asr": (Layout("test-clean-noLM-hyp.ark", _best_path), Layout("test-clean-LM-hyp.ark", _with_lm)),
    "ks": (Layout("test_predict.txt", _keyword),),
    "sid": (Layout("test_predict.txt", _speaker),),
    "asv": (Layout("test_predict.txt", _trial),),
    "ic": (Layout("test_predict.csv", _intent),),
    "sf": (Layout("test-hyp.ark", _text),),
    "er": (Layout("test_fold{fold}_predict.txt", _emotion),),
}
"""By task; SUPERB's leaderboard takes others too, in files that hold more than a line a prediction."""


def submission(task: str, fold: int, data: TaskData, predictions: Mapping[str, Any]) -> dict[str, str]:
    """Return name and text of the files of one head; none of a task that is not among `LAYOUTS`.

    Args:
        task: name of the task, on its official corpus.
        fold: number of the tested fold, from 1, of a task in folds.
        data: of the task.
        predictions: what the results keep of them, by name.
    """
    if task not in LAYOUTS:
        return {}
    audio = {utterance.name: utterance.audio for utterance in data.parts["test"]}
    files = {}
    for layout in LAYOUTS[task]:
        lines = [layout.line(audio, name, prediction) for name, prediction in predictions.items()]
        files[layout.file.format(fold=fold)] = "".join(f"{line}\n" for line in lines if line is not None)
    return {name: text for name, text in files.items() if text}
