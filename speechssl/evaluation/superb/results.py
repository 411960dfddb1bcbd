"""What one task gave: `<task>/results.json`.

It holds

- `benchmark`: `superb`; `speechssl`: version; `settings`: those of the run; `seconds`: how long it took
- `protocol`: in words, how the reported heads were chosen
- `task`: `name`, `title`, `folder`, `metrics` (names; the first one decides), `units` (of those that are no shares),
  `lower_is_better`, `utterances` and `seconds` of each part, `steps`, `batch_size`, `lr` (those to choose from),
  `published_lr`, and what the task says of its labels; `folds`, the names of those that were tested in turn (the
  counts are then those of the first)
- `encoders`: a list with one entry a row of the tables: `name`, `frame_rate`, `dim`, `parameters`, `sources`
- `scores`: row -> a list with one :class:`speechssl.evaluation.superb.scores.Score` a source, seed and fold
- `summary`: row -> score of the test part -> `mean`, `spread` (sample standard deviation over sources and seeds; 0 for
  one; of folds the mean counts) and `runs`; `valid` has the same of the validation part

Beside it, `predictions/<row>-<number>-seed<seed>.tsv` has what was predicted of every test utterance (of every
trial where those are scored).
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechssl.evaluation.benchmark import EncoderScores
from speechssl.evaluation.encoders import Contestant
from speechssl.evaluation.spread import mean_and_spread
from speechssl.evaluation.superb.data import TaskData
from speechssl.evaluation.superb.figures import LAYER_WEIGHTS, draw_layer_weights
from speechssl.evaluation.superb.problems.problem import Problem
from speechssl.evaluation.superb.scores import Score
from speechssl.evaluation.superb.settings import SuperbSettings
from speechssl.evaluation.superb.submission import submission
from speechssl.evaluation.superb.tasks import TASKS
from speechssl.evaluation.superb.training import Plan
from speechssl.evaluation.superb.units import UNITS
from speechssl.files import write_json, write_text
from speechssl.models.encoder import Encoder

BENCHMARK = "superb"
PROTOCOL = (
    "frozen encoder; learning rate and update chosen on the validation part, by the first score; the test part read "
    "once after that"
)


class SuperbResults:
    """Collects what was measured in one task."""

    def __init__(self, settings: SuperbSettings, divisions: Sequence[TaskData], problem: Problem) -> None:
        self._settings = settings
        self._data = divisions[0]
        self._divisions = divisions
        self._folds = [data.fold for data in divisions if data.fold]
        self._problem = problem
        self._rows = EncoderScores(BENCHMARK, settings)
        self._files: dict[str, str] = {}

    def add(self, rival: Contestant, encoder: Encoder, score: Score) -> None:
        """Note one score of an encoder."""
        entry = score.to_json()
        self._rows.add(rival, encoder, entry)
        number = len({entry["source"] for entry in self._rows.scores[rival.name]})
        head = f"{rival.name}-{number}-seed{score.seed}{score.fold and '-'}{score.fold}"
        lines = [
            f"{name}\t{json.dumps(prediction, ensure_ascii=False)}\n" for name, prediction in score.predictions.items()
        ]
        self._files[f"predictions/{head}.tsv"] = "id\tprediction\n" + "".join(lines)
        if self._settings.corpus_dir is not None:
            number = self._folds.index(entry["fold"]) if self._folds else 0
            files = submission(self._settings.task, number + 1, self._divisions[number], score.predictions)
            self._files |= {f"submission/{head}/{name}": text for name, text in files.items()}

    def to_json(self, plan: Plan, rates: list[float]) -> dict[str, Any]:
        """Return all that is known, see the module's docstring."""
        return {
            **self._rows.to_json(),
            "protocol": PROTOCOL,
            "task": self._task(plan, rates),
            "summary": {
                name: {**_summary(scores, "test"), "valid": _summary(scores, "valid")}
                for name, scores in self._rows.scores.items()
            },
        }

    def write(self, folder: Path, plan: Plan, rates: list[float]) -> None:
        """Write the results of the task into its folder, `results.json` last."""
        results = self.to_json(plan, rates)
        for name, text in self._files.items():
            write_text(folder / name, text)
        draw_layer_weights(folder / LAYER_WEIGHTS, [results])
        write_json(folder / "results.json", results)

    def _task(self, plan: Plan, rates: list[float]) -> dict[str, Any]:
        task = TASKS[self._settings.task]
        parts = self._data.parts
        return {
            "name": self._settings.task,
            "title": task.title,
            "folder": str(self._data.folder),
            "folds": self._folds,
            "metrics": list(self._problem.metrics),
            "units": {name: UNITS[name] for name in self._problem.metrics if name in UNITS},
            "lower_is_better": self._problem.lower_is_better,
            "utterances": {name: len(part) for name, part in parts.items()},
            "seconds": {name: round(sum(item.samples for item in part) / 16000, 1) for name, part in parts.items()},
            "steps": plan.steps,
            "batch_size": plan.batch_size,
            "lr": rates,
            "published_lr": task.published_lr,
            **self._problem.facts(),
        }


def _summary(scores: list[dict[str, Any]], part: str) -> dict[str, Any]:
    """Return mean and spread over sources and seeds; of each the mean of its folds counts."""
    return {name: mean_and_spread(_means(scores, part, name)) for name in scores[0][part]}


def _means(scores: list[dict[str, Any]], part: str, name: str) -> list[float]:
    folds: dict[tuple[str, int], list[float]] = {}
    for score in scores:
        folds.setdefault((score["source"], score["seed"]), []).append(score[part][name])
    return [statistics.fmean(values) for values in folds.values()]
