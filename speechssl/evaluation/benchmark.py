"""What the results of the benchmarks have in common."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

from speechssl import __version__
from speechssl.errors import UserError
from speechssl.evaluation.encoders import Contestant
from speechssl.files import read_json
from speechssl.models.encoder import Encoder


class EncoderScores:
    """The encoders of one task, and their scores.

    Args:
        benchmark: name of the benchmark.
        settings: of the command, a dataclass.
    """

    def __init__(self, benchmark: str, settings: Any) -> None:
        self._benchmark = benchmark
        self._settings = settings
        self._started = time.monotonic()
        self._encoders: dict[str, dict[str, Any]] = {}
        self.scores: dict[str, list[dict[str, Any]]] = {}
        """Row -> a list with one score a source, seed ..."""

    def add(self, rival: Contestant, encoder: Encoder, score: dict[str, Any]) -> None:
        """Note one score of an encoder."""
        facts = {
            "name": rival.name,
            "frame_rate": encoder.frame_rate,
            "dim": encoder.dim,
            "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
            "sources": [],
        }
        row = self._encoders.setdefault(rival.name, facts)
        if rival.source not in row["sources"]:
            row["sources"].append(rival.source)
        self.scores.setdefault(rival.name, []).append({"source": rival.source, **score})

    def to_json(self) -> dict[str, Any]:
        """Return `benchmark`, version, `settings`, `seconds` since the first line, `encoders` and `scores`."""
        return {
            "benchmark": self._benchmark,
            "speechssl": __version__,
            "settings": dataclasses.asdict(self._settings),
            "seconds": round(time.monotonic() - self._started, 1),
            "encoders": list(self._encoders.values()),
            "scores": self.scores,
        }


def require_own_folder(folder: Path, benchmark: str) -> None:
    """Raise a `UserError` where a folder has the table of another benchmark, which this one's would replace."""
    file = folder / "results.json"
    if file.is_file() and read_json(file).get("benchmark") != benchmark:
        raise UserError(f"out_dir={folder} has results of another benchmark; give one of its own")
