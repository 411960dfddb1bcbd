"""`results.json`: every number; `results.md` and the terminal: mean and spread over the seeds.

`results.json` holds

- `settings`: those of the run; `seconds`: how long it took
- `encoders`: row name -> `frame_rate`, `dim`, `num_layers`, `parameters`, `sources` (one a seed)
- `tasks`: task name -> what is measured on what (`metric`, `better`, `kind`, `parts`, `classes`,
  `chance` ...: one of the classes, or the share of the most frequent phone or unit). Names: each probed metadata
  column, `phones <folder>`, `retrieval`, `rankme`, `masked accuracy`
- `scores`: row name -> task name -> a list with one :class:`speechssl.evaluation.probes.tasks.Score` a seed, and its
  `source`
- `summary`: row name -> task name -> `best`, `weighted`, `value` (those there are): `mean`, `spread` (sample standard
  deviation over the seeds; 0 for one), `runs`
- `left_out`: list of `what` and `reason`
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.markdown import markdown_table
from speechssl.evaluation.probes.settings import EvaluateSettings
from speechssl.evaluation.probes.tasks import Score
from speechssl.evaluation.spread import mean_and_spread, summary_text
from speechssl.files import write_json, write_text
from speechssl.models.encoder import Encoder

_SUMMARISED = {"best": "best layer", "weighted": "weighted sum", "value": ""}


class Results:
    """Collects what was measured."""

    def __init__(self, settings: EvaluateSettings) -> None:
        self._settings = settings
        self._started = time.monotonic()
        self._encoders: dict[str, dict[str, Any]] = {}
        self._tasks: dict[str, dict[str, Any]] = {}
        self._scores: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self._left_out: list[dict[str, str]] = []

    def leave_out(self, what: str, reason: str) -> None:
        """Note something that was not measured."""
        self._left_out.append({"what": what, "reason": reason})

    def describe(self, task: str, description: dict[str, Any]) -> None:
        """Note what a task measures; the order of the calls is the order of the table."""
        self._tasks[task] = description

    def add_encoder(self, rival: Contestant, encoder: Encoder) -> None:
        """Note an encoder that was evaluated."""
        row = self._encoders.setdefault(
            rival.name,
            {
                "frame_rate": encoder.frame_rate,
                "dim": encoder.dim,
                "num_layers": encoder.num_layers,
                "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
                "sources": [],
            },
        )
        row["sources"].append(rival.source)

    def add_score(self, rival: Contestant, task: str, score: Score) -> None:
        """Note the score of one encoder in one task."""
        scores = self._scores.setdefault(rival.name, {}).setdefault(task, [])
        scores.append({"source": rival.source, **score.to_json()})

    def summary(self) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        """Return mean and spread over the seeds, by row, task and kind of score."""
        return {
            name: {task: _summary(scores) for task, scores in tasks.items()} for name, tasks in self._scores.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return all of it, see the module's docstring."""
        return {
            "settings": dataclasses.asdict(self._settings),
            "seconds": round(time.monotonic() - self._started, 1),
            "encoders": self._encoders,
            "tasks": self._tasks,
            "scores": self._scores,
            "summary": self.summary(),
            "left_out": self._left_out,
        }

    def write(self, folder: Path) -> None:
        """Write `results.json` and `results.md`."""
        write_text(folder / "results.md", self._page())
        write_json(folder / "results.json", self.to_json())

    def table(self) -> str:
        """Return one line a task and an encoder a column, as a Markdown table that also reads well on a terminal."""
        summary = self.summary()
        rows = [["", *self._encoders, "chance"]]
        for task, description in self._tasks.items():
            for kind, words in _SUMMARISED.items():
                cells = [summary[name].get(task, {}).get(kind) for name in self._encoders]
                if any(cells):
                    label = f"{task} ({description['metric']}{', ' if words else ''}{words})"
                    chance = description.get("chance")
                    rows.append([label, *map(_cell, cells), "" if chance is None else f"{chance:.3f}"])
        return markdown_table(rows)

    def _page(self) -> str:
        lines = ["# Evaluation of frozen encoders", "", "Mean over the seeds, ± sample standard deviation.", ""]
        lines += [self.table(), ""]
        layered = [
            task
            for task in self._tasks
            if any("layers" in s for row in self._scores.values() for s in row.get(task, []))
        ]
        for task in layered:
            lines += [f"## {task}, layer by layer", "", self._layers(task), ""]
        lines += ["## How", ""]
        for task, description in self._tasks.items():
            facts = ", ".join(f"{key.replace('_', ' ')}: {_short(value)}" for key, value in description.items())
            lines.append(f"- **{task}**: {facts}")
        if self._left_out:
            lines += ["", "## Left out", ""]
            lines += [f"- {item['what']}: {item['reason']}" for item in self._left_out]
        return "\n".join(lines) + "\n"

    def _layers(self, task: str) -> str:
        """Return the mean test score of each layer, an encoder a line."""
        depth = max(row["num_layers"] for row in self._encoders.values()) + 1
        rows = [["layer", *map(str, range(depth))]]
        for name, tasks in self._scores.items():
            seeds = [score["layers"] for score in tasks.get(task, []) if "layers" in score]
            means = [f"{statistics.fmean(values):.3f}" for values in zip(*seeds, strict=True)]
            rows.append([name, *means, *[""] * (depth - len(means))])
        return markdown_table(rows)


def _summary(scores: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    summary = {}
    for kind in _SUMMARISED:
        values = [score[kind] for score in scores if kind in score]
        if values:
            summary[kind] = mean_and_spread(values)
    return summary


def _cell(summary: dict[str, float] | None) -> str:
    digits = 3 if summary is None or summary["mean"] < 10 else 1
    return summary_text(summary, lambda value: f"{value:.{digits}f}")


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return "; ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return str(value)
