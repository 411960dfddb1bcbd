"""Tables of results that a task might give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from speechssl.evaluation.hear.overview import captions, overview_table, read_tasks, task_table


def results_of(name: str, scores: list[str], summary: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "benchmark": "hear",
        "protocol": "chosen on validation",
        "task": {"name": name, "scores": scores},
        "encoders": [{"name": row, "parameters": 94371712, "dim": 768} for row in summary],
        "summary": summary,
    }


def number(mean: float, runs: int = 3) -> dict[str, float]:
    return {"mean": mean, "spread": 0.01, "runs": runs}


PITCH = results_of(
    "pitch", ["pitch_acc", "d_prime"], {"fbank": {"pitch_acc": number(0.5, runs=1), "d_prime": number(2.25)}}
)
SOUNDS = results_of(
    "sounds", ["segment_1s_er"], {"fbank": {"segment_1s_er": number(1.2)}, "hubert": {"segment_1s_er": None}}
)


def test_a_task_has_a_column_a_score() -> None:
    assert task_table(PITCH) == [
        ["encoder", "pitch_acc", "d_prime", "parameters", "width"],
        ["fbank", "0.500", "2.250 ± 0.010", "94 371 712", "768"],
    ]


def test_tasks_stand_side_by_side_with_their_first_score() -> None:
    assert overview_table([PITCH, SOUNDS]) == [
        ["encoder", "pitch (pitch_acc)", "sounds (segment_1s_er)"],
        ["fbank", "0.500", "1.200 ± 0.010"],
        ["hubert", "-", "-"],
    ]


def test_what_must_be_said_is_said() -> None:
    assert "Protocol: chosen on validation." in captions([PITCH])
    assert not [line for line in captions([PITCH]) if "less is better" in line or "missing" in line]
    assert len([line for line in captions([PITCH, SOUNDS]) if "less is better" in line or "missing" in line]) == 2


def test_results_of_other_benchmarks_are_none_of_these(tmp_path: Path) -> None:
    for name, benchmark in (("a", "lape"), ("b", "hear")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"benchmark": benchmark}))
    assert list(read_tasks(tmp_path)) == ["b"]
