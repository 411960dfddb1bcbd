"""Metrics as JSON Lines and TensorBoard events."""

from __future__ import annotations

import json

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from speechssl.training.metrics import RunRecorder

VALUES = {"masked_loss": torch.tensor(2.5), "audio_seconds": 80.0, "data_time": 0.5, "compute_time": 1.5}


def test_tensorboard_reads_what_the_lines_say(tmp_path):
    recorder = RunRecorder(tmp_path, resumed_at=0)
    for step in (10, 20):
        recorder.record_metric_values("train", {**VALUES, "masked_accuracy": step / 100}, step)
    recorder.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics" / "train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20]
    assert lines[0]["audio_seconds_per_second"] == 40.0
    events = EventAccumulator(str(tmp_path / "tb" / "train")).Reload()
    tags = events.Tags()["scalars"]
    assert len(tags) == len(lines[0]) - 1  # all but the step
    (accuracy,) = (tag for tag in tags if "accuracy" in tag.lower())
    assert [(event.step, round(event.value, 6)) for event in events.Scalars(accuracy)] == [(10, 0.1), (20, 0.2)]


def test_lines_after_the_checkpoint_and_half_lines_are_dropped_on_resume(tmp_path):
    recorder = RunRecorder(tmp_path, resumed_at=0)
    for step in (10, 20, 30):
        recorder.record_metric_values("train", VALUES, step)
    recorder.close()
    with open(tmp_path / "metrics" / "train.jsonl", "a") as file:
        file.write('{"step": 40, "masked_l')
    RunRecorder(tmp_path, resumed_at=20).close()
    lines = (tmp_path / "metrics" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20]
