"""What one task gave: `results.json`, `confusion.json` and `confusion.png` in `<task>/`, or `<task>/finetune/`.

`results.json` holds

- `benchmark`: `lape`; `speechssl`: version; `settings`: those of the run; `seconds`: how long it took
- `mode`: `linear` or `finetune`; `protocol`, `chosen`: in words, how the reported epoch was chosen
- `task`: `name`, `corpus`, `column`, `group_column`, `clip_seconds`, `split`, `note`, `published`, `classes` (their
  names), `clips`, `padded`, `cut`, `chance` (one of the classes), `most_frequent_class` (the share of the class that
  the test part has most of, a mean over the divisions), `data` (a checksum), and `divisions`: of each its `name`,
  sizes of `train`, `valid` and `test`, where `valid` comes from, `missing_from_train` (class -> test clips of it), and
  how many groups (speakers, say) of the test part are in train as well, where they are known
- `encoders`: a list with one entry a row of the tables: `name`, `speechssl` (version that measured it), `frame_rate`,
  `dim`, `parameters`, `sources`, `identities` (of trained ones: source -> checksum of what it was)
- `scores`: row -> a list with one :class:`speechssl.evaluation.lape.scores.Score` a source, label fraction and seed
- `summary`: row -> label fraction -> `accuracy` and `balanced_accuracy`: `mean`, `spread` (sample standard deviation
  over sources and seeds; 0 for one) and `runs`
- with `task.distances`, `task` has a checksum of them, and `scores` and `summary` have `mean_distance` too (of the
  predicted from the true class), and `loki_accuracy` and `loki_mean_distance` (:mod:`speechssl.evaluation.lape.loki`)
- `left_out`: list of `what` and `reason`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechssl.evaluation.benchmark import EncoderScores
from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.lape.data import TaskData
from speechssl.evaluation.lape.loki import read_distances
from speechssl.evaluation.lape.scores import KINDS, Confusion, Score
from speechssl.evaluation.lape.settings import LapeSettings, Protocol
from speechssl.evaluation.lape.splits import Division
from speechssl.evaluation.spread import mean_and_spread
from speechssl.files import checksum_of, read_json, write_json
from speechssl.models.encoder import Encoder

BENCHMARK = "lape"
CONFUSION = "confusion.json"
CHOSEN = {
    Protocol.sound: "learning rate and epoch chosen on validation, the test part read once after that",
    Protocol.paper: "MAXIMUM of the test accuracy over the epochs: the test part itself chose the epoch (statistics "
    "are of the training part and the frozen encoder is in evaluation mode; in the released code they are not)",
}
"""Protocol: how the reported epoch was chosen."""


class LapeResults:
    """Collects what was measured in one task, beside what an earlier command measured in it.

    Args:
        settings: of the command.
        data: of the task.
        divisions: what is trained and tested on.
        folder: the results' own.
        rivals: encoders of this command.

    Raises:
        UserError: the settings name distances that do not fit the task's classes; or the folder has rows of other
            encoders that cannot stay beside these.
    """

    def __init__(
        self,
        settings: LapeSettings,
        data: TaskData,
        divisions: Sequence[Division],
        folder: Path,
        rivals: Sequence[Contestant],
    ) -> None:
        self._settings = settings
        self._data = data
        self._divisions = divisions
        table = settings.task.distances
        self._distances = None if table is None else read_distances(table, data.classes)
        self._folder = folder
        self._task = self._describe()
        self._rows = EncoderScores(BENCHMARK, settings)
        self._confusions = self._earlier_confusions(self._rows.join(folder / "results.json", self._task, rivals))

    def add(self, rival: Contestant, encoder: Encoder, score: Score) -> None:
        """Note one score of an encoder."""
        self._rows.add(rival, encoder, score.to_json(self._distances))
        sums = self._confusions.setdefault(rival.name, {})
        fraction = f"{score.label_fraction:g}"
        sums[fraction] = sums.get(fraction, 0) + score.confusion

    def to_json(self) -> dict[str, Any]:
        """Return all but the confusion matrices, see the module's docstring."""
        return {
            **self._rows.to_json(),
            "mode": self._settings.mode,
            "protocol": self._settings.protocol,
            "chosen": CHOSEN[self._settings.protocol],
            "task": self._task,
            "summary": {name: _summary(scores) for name, scores in self._rows.scores.items()},
            "left_out": self._data.left_out,
        }

    def write(self) -> None:
        """Write the results of the task into its folder."""
        from speechssl.evaluation.lape.confusion import plot_confusion  # brings matplotlib, slow to import

        folder = self._folder
        classes = self._data.classes
        most = f"{max(self._settings.label_fractions):g}"
        pictures = {name: matrices[most] for name, matrices in self._confusions.items()}
        plot_confusion(folder / "confusion.png", pictures, classes, self._settings.task.name)
        matrices = {
            name: {fraction: _sparse(matrix, classes) for fraction, matrix in sums.items()}
            for name, sums in self._confusions.items()
        }
        write_json(folder / CONFUSION, matrices)
        write_json(folder / "results.json", self.to_json())

    def _earlier_confusions(self, names: Sequence[str]) -> dict[str, dict[str, Confusion]]:
        if not names:
            return {}
        sparse = read_json(self._folder / CONFUSION)
        return {
            name: {fraction: _dense(counts, self._data.classes) for fraction, counts in sparse[name].items()}
            for name in names
        }

    def _describe(self) -> dict[str, Any]:
        task, data = self._settings.task, self._data
        # Rows that were measured with other distances cannot stay beside these.
        distances = {} if self._distances is None else {"distances": checksum_of(self._distances.tolist())}
        return {
            **distances,
            "name": task.name,
            "corpus": task.corpus,
            "column": task.column,
            "group_column": task.group_column,
            "clip_seconds": task.clip_seconds,
            "split": task.split,
            "note": task.note,
            "published": task.published or {},
            "classes": data.classes,
            **data.lengths(task.clip_seconds),
            "chance": 1 / len(data.classes),
            "most_frequent_class": self._most_frequent_class(),
            "data": data.fingerprint(),
            "divisions": [division.describe(data, task) for division in self._divisions],
        }

    def _most_frequent_class(self) -> float:
        """Return the accuracy of always naming the class that the test part has most of: a mean over the divisions."""
        tests = [self._data.labels[division.test] for division in self._divisions]
        return float(np.mean([np.bincount(labels).max() / len(labels) for labels in tests]))


def _summary(scores: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for fraction in sorted({score["label_fraction"] for score in scores}):
        alike = [score for score in scores if score["label_fraction"] == fraction]
        summary[f"{fraction:g}"] = {
            kind: mean_and_spread([score[kind] for score in alike]) for kind in KINDS if kind in alike[0]
        }
    return summary


def _dense(counts: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> Confusion:
    """Return the matrix that `_sparse` made these counts of."""
    place = {name: index for index, name in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for truth, row in counts.items():
        for predicted, count in row.items():
            matrix[place[truth], place[predicted]] = count
    return matrix


def _sparse(matrix: Confusion, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the counts that are not 0: true class -> predicted class -> clips."""
    return {
        name: {classes[column]: int(row[column]) for column in np.flatnonzero(row).tolist()}
        for name, row in zip(classes, matrix, strict=True)
    }
