"""Tables of results that a task might give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from speechssl.evaluation.hear.overview import OVERVIEW, captions, overview_table, task_table


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
    "pitch", ["pitch_acc", "d_prime"], {"fbank": {"d_prime": number(2.25), "pitch_acc": number(0.5, runs=1)}}
)
SOUNDS = results_of(
    "sounds", ["segment_1s_er"], {"fbank": {"segment_1s_er": number(1.2)}, "hubert": {"segment_1s_er": None}}
)
NOTES = results_of(
    "notes",
    ["event_onset_50ms_fms", "event_onset_200ms_fms"],
    {
        "fbank": {
            f"event_onset_{ms}ms_fms{part}": number(0.5, runs=1)
            for ms in (200, 50)
            for part in ("", "_recall", "_precision")
        }
    },
)


def test_a_task_has_a_column_a_score() -> None:
    assert task_table(PITCH) == [
        ["encoder", "pitch_acc", "d_prime", "parameters", "width"],
        ["fbank", "0.500", "2.250 ± 0.010", "94 371 712", "768"],
    ]


def test_precision_and_recall_stand_behind_their_f_measure() -> None:
    first, second = "event_onset_50ms_fms", "event_onset_200ms_fms"
    assert task_table(NOTES)[0][1:-2] == [
        *(first, f"{first}_precision", f"{first}_recall"),
        *(second, f"{second}_precision", f"{second}_recall"),
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
    parts = ("settings", "protocol", "scores", "task", "encoders", "summary")
    for name, benchmark in (("a", "lape"), ("b", "hear")):
        (tmp_path / name).mkdir()
        results = {"benchmark": benchmark, **{part: {} for part in parts}}
        (tmp_path / name / "results.json").write_text(json.dumps(results))
    assert list(OVERVIEW.read(tmp_path)) == ["b"]
