"""Metrics of a run: JSON Lines and TensorBoard events."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from speechssl.files import write_text
from speechssl.training.fairseq2_trainer import MetricDescriptorRegistry, MetricRecorder, TensorBoardRecorder

log = logging.getLogger(__name__)

_SHOWN = ("loss", "accuracy", "rankme", "variance", "lr", "audio_seconds_per_second")
"""Ends of the names of what the log shows."""


class RunRecorder(MetricRecorder):
    """Writes `metrics/<category>.jsonl` and TensorBoard events under `tb/`, and a line to the log at each validation.

    Args:
        folder: the run folder.
        resumed_at: update from which the run goes on; what was written after it is dropped, for it comes again.
    """

    def __init__(self, folder: Path, resumed_at: int) -> None:
        self._folder = folder / "metrics"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._tensorboard = TensorBoardRecorder(folder, MetricDescriptorRegistry([]))
        for file in self._folder.glob("*.jsonl"):
            _drop_after(file, resumed_at)

    def record_metric_values(self, category: str, values: Mapping[str, object], step_nr: int | None = None) -> None:
        """Append one line of plain numbers."""
        plain = {name: _number(value) for name, value in values.items()}
        if "audio_seconds" in plain:
            plain["audio_seconds_per_second"] = plain["audio_seconds"] / (plain["data_time"] + plain["compute_time"])
        with (self._folder / f"{category}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step_nr, **plain}) + "\n")
        self._tensorboard.record_metric_values(category, plain, step_nr)
        shown = [name for name in plain if name.endswith(_SHOWN)]
        text = ", ".join(f"{name.replace('_', ' ')} {plain[name]:.4g}" for name in shown)
        log.log(logging.INFO if category == "valid" else logging.DEBUG, "%s, update %s: %s", category, step_nr, text)

    def close(self) -> None:
        """Close the event files."""
        self._tensorboard.close()


def last_line(run_folder: Path, category: str) -> dict[str, float]:
    """Return the newest metrics of a run, with their `step`: of `train` or `valid`."""
    lines = (run_folder / "metrics" / f"{category}.jsonl").read_text(encoding="utf-8").splitlines()
    newest: dict[str, float] = json.loads(lines[-1])
    return newest


def _number(value: object) -> float:
    return float(value.item()) if isinstance(value, Tensor) else float(str(value))


def _drop_after(file: Path, step: int) -> None:
    """Keep the lines up to an update. A line cut short by a kill is dropped too."""
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            continue
    write_text(file, "".join(kept))
