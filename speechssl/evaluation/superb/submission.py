"""Predictions as s3prl's downstream evaluation writes them, for the leaderboard of SUPERB.

s3prl's `submit/submit.py` takes a folder a task (`--ks FOLDER`, `--asr_no_lm FOLDER`, `--sv FOLDER` ...), picks the
files it knows, and packs them. Utterances are called as s3prl calls them, by the paths of the official corpora. Only
SD's are posteriors in HDF5, and the samples of a frame in `frame_shift`: its `downstream/diarization/score.sh` makes
segments of them.
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from speechssl.evaluation.superb.data import TaskData
from speechssl.evaluation.superb.problems.problem import Posteriors
from speechssl.files import as_name

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
"""Of the tasks whose files hold a line a prediction."""

_FOUND = 2.0
"""A document is named as one that holds the query above so many standard deviations (s3prl's quesst14_dtw)."""


def _search(data: TaskData, predictions: Mapping[str, float]) -> dict[str, str]:
    """Return NIST's list of what was found; the times in it are s3prl's constants, nothing is scored by them."""
    about = {"termlist_filename": "benchmark.stdlist.xml", "indexing_time": "1.00", "language": "english"}
    root = ElementTree.Element("stdlist", {**about, "index_size": "1", "system_id": "benchmark"})
    of_query: dict[str, ElementTree.Element] = {}
    for pair, score in predictions.items():
        query, document = pair.split()
        if query not in of_query:
            told = {"termid": query, "term_search_time": "1.0", "oov_term_count": "1"}
            of_query[query] = ElementTree.SubElement(root, "detected_termlist", told)
        place = {"file": document, "channel": "1", "tbeg": "0.000", "dur": "0.00"}
        decision = "YES" if score > _FOUND else "NO"
        ElementTree.SubElement(of_query[query], "term", {**place, "score": f"{score:.4f}", "decision": decision})
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return {"benchmark.stdlist.xml": f"<?xml version='1.0' encoding='UTF-8'?>\n{text}\n"}


def _translation(data: TaskData, predictions: Mapping[str, str]) -> dict[str, str]:
    rows = [(one.name, predictions[one.name], one.labels["translation"]) for one in data.parts["test"]]
    return {"output-st-test.tsv": "".join("\t".join(row) + "\n" for row in [("utt_id", "hyp", "ref"), *rows])}


def _means(names: Mapping[str, str]) -> Callable[[TaskData, Mapping[str, Any]], dict[str, str]]:
    """Return what writes mean scores, `names` of ours to those of the file; scores that are missing stay out."""

    def write(data: TaskData, predictions: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
        known = {name: [scores[name] for scores in predictions.values() if name in scores] for name in names}
        lines = [f"{names[name]} {statistics.fmean(values)}\n" for name, values in known.items() if values]
        return {"test_metrics.txt": "".join(lines)}

    return write


WHOLE: Mapping[str, Callable[[TaskData, Mapping[str, Any]], dict[str, str]]] = {
    "qbe": _search,
    "st": _translation,
    "se": _means({"stoi": "stoi", "pesq": "pesq"}),
    "ss": _means({"si_sdri": "si_sdr"}),
}
"""Of tasks whose predictions make one text."""


def submission(
    task: str,
    fold: int,
    data: TaskData,
    predictions: Mapping[str, Any],
    posteriors: Posteriors | None,
) -> dict[str, bytes]:
    """Return name and content of the files of one head.

    Args:
        task: name of the task, on its official corpus.
        fold: number of the tested fold, from 1, of a task in folds.
        data: of the task.
        predictions: what the results keep of them, by name.
        posteriors: of SD, in place of the predictions.
    """
    if posteriors is not None:
        arrays = {f"scoring/predictions/{as_name(name)}.h5": _hdf5(of) for name, of in posteriors.recordings.items()}
        return {"frame_shift": f"{posteriors.frame}\n".encode(), **arrays}
    texts = WHOLE[task](data, predictions) if task in WHOLE else _lines(task, fold, data, predictions)
    return {name: text.encode() for name, text in texts.items() if text}


def _lines(task: str, fold: int, data: TaskData, predictions: Mapping[str, Any]) -> dict[str, str]:
    audio = {utterance.name: utterance.audio for utterance in data.parts["test"]}
    files = {}
    for layout in LAYOUTS.get(task, ()):
        lines = [layout.line(audio, name, prediction) for name, prediction in predictions.items()]
        files[layout.file.format(fold=fold)] = "".join(f"{line}\n" for line in lines if line is not None)
    return files


def _hdf5(posteriors: npt.NDArray[np.float32]) -> bytes:
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("T_hat", data=posteriors)
    return content.getvalue()
