"""What one task gave: `<task>/results.json`.

It holds

- `benchmark`: `superb`; `speechssl`: version; `settings`: those of the run; `seconds`: how long it took
- `protocol`: in words, how the reported heads were chosen
- `task`: `name`, `title`, `folder`, `metrics` (names; the first one decides), `units` (of those that are no shares),
  `lower_is_better`, `utterances` and `seconds` of each part, and what the task says of its labels; `notes`, e.g. how
  training differs from s3prl's; of heads that are trained `steps`, `batch_size`, `lr` (those to choose from) and
  `published_lr`; `folds`, the names of those that were tested in turn (the counts are then those of the first);
  `data`, a checksum of each division; `lm`, that of the language model, if one was given
- `remarks`: what is unusual about utterances that were scored: `channels` (they have several, the mean was heard),
  `rate` (another one than 16 kHz, they were resampled), `silent`, `shared` (of a test part of csv: heads learn from the
  same sound, or are chosen on it) -> part (`folds` of a task in folds) -> how many; `remarks.json` beside it has id ->
  file in place of the number
- `encoders`: a list with one entry a row of the tables: `name`, `frame_rate`, `dim`, `parameters`, `sources`,
  `identities` (of trained ones: source -> checksum of what it was), and the version of `speechssl` that measured it
- `scores`: row -> a list with one :class:`speechssl.evaluation.superb.scores.Score` a source, seed and fold, or of a
  search one :class:`speechssl.evaluation.superb.search.run.SearchScore` a source
- `summary`: row -> score of the test part -> `mean`, `spread` (sample standard deviation over sources and seeds; 0 for
  one; of folds the mean counts) and `runs`; `valid` has the same of the validation part

Beside it, `predictions/<row>-<number>-seed<seed>.tsv` has what was predicted of every test utterance (of every
trial where those are scored, of every pair in a search); `submission/<row>-<number>-seed<seed>/` has the same for
SUPERB's leaderboard, where the corpus is the official one (:mod:`speechssl.evaluation.superb.submission`). In both,
`-seed<seed>` is `-seed<seed>-<fold>` of a task in folds, and `-layer<layer>` of a search; what does not suit a file in
the name of a row is `_`. `layer_weights.png` shows what the heads listen to.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from speechssl.evaluation.benchmark import EncoderScores
from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.spread import mean_and_spread
from speechssl.evaluation.superb.data import TaskData
from speechssl.evaluation.superb.figures import LAYER_WEIGHTS, draw_layer_weights
from speechssl.evaluation.superb.problems.problem import Posteriors
from speechssl.evaluation.superb.reading import recording_columns
from speechssl.evaluation.superb.remarks import REMARKS, counts_of
from speechssl.evaluation.superb.settings import SuperbSettings
from speechssl.evaluation.superb.submission import submission
from speechssl.evaluation.superb.tasks import ALL_TASKS
from speechssl.evaluation.superb.units import UNITS
from speechssl.files import as_name, write_bytes, write_json
from speechssl.models.encoder import Encoder

BENCHMARK = "superb"
PREDICTIONS, SUBMISSION = "predictions", "submission"
"""Folders beside the results, with what is named by rows and heads."""


class Measured(Protocol):
    """One score of an encoder."""

    @property
    def predictions(self) -> Mapping[str, Any]:
        """What the results keep of the test part, by name."""
        ...

    @property
    def posteriors(self) -> Posteriors | None:
        """What only the leaderboard's files keep of it."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return all but the predictions and posteriors."""
        ...


class SuperbResults:
    """Collects what was measured in one task, beside what an earlier command measured in it.

    Args:
        settings: of the command.
        divisions: one, or one a fold.
        protocol: in words, how what is reported was chosen.
        facts: of the task: `metrics`, `lower_is_better`, and others that the tables tell.
        rivals: encoders of this command.

    Raises:
        UserError: the results' folder has rows of other encoders that cannot stay beside these.
    """

    def __init__(
        self,
        settings: SuperbSettings,
        divisions: Sequence[TaskData],
        protocol: str,
        facts: Mapping[str, Any],
        rivals: Sequence[Contestant],
    ) -> None:
        self._settings = settings
        self._data = divisions[0]
        self._divisions = divisions
        self._folds = [data.fold for data in divisions if data.fold]
        self._protocol = protocol
        self._facts = facts
        self._folder = Path(settings.out_dir) / settings.task
        self._task = self._describe()
        self._rows = EncoderScores(BENCHMARK, settings)
        self._rows.join(self._folder / "results.json", self._task, rivals)
        self._files: dict[str, bytes] = {}

    def add(self, rival: Contestant, encoder: Encoder, score: Measured) -> None:
        """Note one score of an encoder."""
        entry = score.to_json()
        self._rows.add(rival, encoder, entry)
        head = _heads(rival.name, self._rows.scores[rival.name])[-1]
        lines = [
            f"{name}\t{json.dumps(prediction, ensure_ascii=False)}\n" for name, prediction in score.predictions.items()
        ]
        self._files[f"{PREDICTIONS}/{head}.tsv"] = ("id\tprediction\n" + "".join(lines)).encode()
        if self._settings.corpus_dir is not None:
            fold = self._folds.index(entry["fold"]) if self._folds else 0
            files = submission(
                self._settings.task, fold + 1, self._divisions[fold], score.predictions, score.posteriors
            )
            self._files |= {f"{SUBMISSION}/{head}/{name}": content for name, content in files.items()}

    def to_json(self) -> dict[str, Any]:
        """Return all that is known, see the module's docstring."""
        return {
            **self._rows.to_json(),
            "protocol": self._protocol,
            "task": self._task,
            "remarks": counts_of(self._data.remarks()),
            "summary": {
                name: {**_summary(scores, "test"), "valid": _summary(scores, "valid")}
                for name, scores in self._rows.scores.items()
            },
        }

    def write(self) -> None:
        """Write the results of the task into its folder, `results.json` last."""
        folder = self._folder
        results = self.to_json()
        for name, content in self._files.items():
            write_bytes(folder / name, content)
        self._remove_old()
        draw_layer_weights(folder / LAYER_WEIGHTS, [results])
        write_json(folder / REMARKS, self._data.remarks())
        write_json(folder / "results.json", results)

    def _remove_old(self) -> None:
        """Remove what earlier commands have said of heads that are no longer in the results."""
        heads = {head for name, scores in self._rows.scores.items() for head in _heads(name, scores)}
        for file in (self._folder / PREDICTIONS).glob("*.tsv"):
            if file.stem not in heads:
                file.unlink()
        for folder in (self._folder / SUBMISSION).glob("*"):
            if folder.is_dir() and folder.name not in heads:
                shutil.rmtree(folder)

    def _describe(self) -> dict[str, Any]:
        parts = self._data.parts
        return {
            "name": self._settings.task,
            "title": ALL_TASKS[self._settings.task].title,
            "folder": str(self._data.folder),
            "folds": self._folds,
            "data": [data.fingerprint(recording_columns(self._settings)) for data in self._divisions],
            "units": {name: UNITS[name] for name in self._facts["metrics"] if name in UNITS},
            "utterances": {name: len(part) for name, part in parts.items()},
            "seconds": {name: round(sum(item.samples for item in part) / 16000, 1) for name, part in parts.items()},
            **self._facts,
        }


def _heads(row: str, scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what files of each score of a row are called."""
    sources = list(dict.fromkeys(score["source"] for score in scores))
    return [f"{as_name(row)}-{sources.index(score['source']) + 1}-{_head(score)}" for score in scores]


def _head(score: Mapping[str, Any]) -> str:
    if "layer" in score:
        return f"layer{score['layer']}"
    return f"seed{score['seed']}{score['fold'] and '-'}{score['fold']}"


def _summary(scores: list[dict[str, Any]], part: str) -> dict[str, Any]:
    """Return mean and spread over sources and seeds; of each the mean of its folds counts."""
    return {name: mean_and_spread(_means(scores, part, name)) for name in scores[0][part]}


def _means(scores: list[dict[str, Any]], part: str, name: str) -> list[float]:
    folds: dict[tuple[str, int | None], list[float]] = {}
    for score in scores:
        folds.setdefault((score["source"], score.get("seed")), []).append(score[part][name])
    return [statistics.fmean(values) for values in folds.values()]
