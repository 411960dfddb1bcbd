"""What one task gave: `<task>/results.json`.

It holds

- `benchmark`: `hear`; `speechssl`: version; `settings`: those of the run; `seconds`: how long it took
- `protocol`: in words, how the reported networks were chosen
- `task`: `name`, `folder`, `sample_rate` (of the audio that was read), `kind` (`scene` or `event`), `prediction`
  (`multiclass` or `multilabel`), `scores` (names; the first one decides), `classes` (how many), `recordings`,
  `seconds`, `chosen_on` (`score` or `loss`), `split_mode`, `training` and `postprocessing` (the task's own),
  `data` (a checksum), and `divisions`: of each its `name`,
  the numbers of recordings in `train`, `valid` and `test`, and for scenes how many classes no recording of its test
  part has (`absent_classes`)
- `encoders`: a list with one entry a row of the tables: `name`, `speechssl` (version that measured it), `frame_rate`,
  `dim`, `parameters`, `sources`, `identities` (of trained ones: source -> checksum of what it was)
- `scores`: row -> a list with one :class:`speechssl.evaluation.hear.scores.Score` a source and seed
- `summary`: row -> score -> `mean`, `spread` (sample standard deviation over sources and seeds; 0 for one) and `runs`;
  null where a run has none
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechssl.evaluation.benchmark import EncoderScores
from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.hear.data import Division, TaskData
from speechssl.evaluation.hear.scores import Score
from speechssl.evaluation.hear.settings import HearSettings
from speechssl.evaluation.spread import mean_and_spread
from speechssl.files import write_json
from speechssl.models.encoder import Encoder

BENCHMARK = "hear"
PROTOCOL = (
    "hidden layers, learning rate, epoch and postprocessing chosen on the validation part of each division, the test "
    "part read once after that"
)


class HearResults:
    """Collects what was measured in one task, beside what an earlier command measured in it.

    Args:
        settings: of the command.
        data: of the task.
        folder: the results' own.
        rivals: encoders of this command.

    Raises:
        UserError: the folder has rows of other encoders that cannot stay beside these.
    """

    def __init__(self, settings: HearSettings, data: TaskData, folder: Path, rivals: Sequence[Contestant]) -> None:
        self._settings = settings
        self._data = data
        self._file = folder / "results.json"
        self._task = self._describe()
        self._rows = EncoderScores(BENCHMARK, settings)
        self._rows.join(self._file, self._task, rivals)

    def add(self, rival: Contestant, encoder: Encoder, score: Score) -> None:
        """Note one score of an encoder."""
        self._rows.add(rival, encoder, score.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return all that is known, see the module's docstring."""
        return {
            **self._rows.to_json(),
            "protocol": PROTOCOL,
            "task": self._task,
            "summary": {name: _summary(scores) for name, scores in self._rows.scores.items()},
        }

    def write(self) -> None:
        """Write the results of the task into its folder."""
        write_json(self._file, self.to_json())

    def _describe(self) -> dict[str, Any]:
        data, metadata = self._data, self._data.metadata
        return {
            "name": self._settings.task,
            "folder": str(metadata.folder),
            "sample_rate": data.sample_rate,
            "kind": "event" if metadata.events else "scene",
            "prediction": "multilabel" if metadata.multilabel else "multiclass",
            "scores": metadata.scores,
            "classes": len(data.classes),
            "recordings": len(data.recordings),
            "seconds": round(sum(recording.seconds for recording in data.recordings), 1),
            "chosen_on": "loss" if metadata.choose_on_loss else "score",
            "split_mode": metadata.split_mode,
            "training": metadata.training,
            "postprocessing": metadata.postprocessing,
            "data": data.fingerprint(),
            "divisions": [self._division(division) for division in data.divisions],
        }

    def _division(self, division: Division) -> dict[str, Any]:
        sizes = {part: len(getattr(division, part)) for part in ("train", "valid", "test")}
        facts: dict[str, Any] = {"name": division.name, **sizes}
        if not self._data.metadata.events:
            tested = {label for row in division.test for label in self._data.labels[row]}
            facts["absent_classes"] = len(self._data.classes) - len(tested)
        return facts


def _summary(scores: list[dict[str, Any]]) -> dict[str, dict[str, float] | None]:
    summary: dict[str, dict[str, float] | None] = {}
    for name in scores[0]:
        if name not in ("source", "seed", "parts"):
            values = [score[name] for score in scores]
            summary[name] = None if None in values else mean_and_spread(values)
    return summary
