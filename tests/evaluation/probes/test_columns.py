"""Which columns are cut into quarters, and on which part the reported layer is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechssl.errors import UserError
from speechssl.evaluation.linear import ProbeResult
from speechssl.evaluation.probes.columns import ColumnTask, column_tasks, summarise
from speechssl.evaluation.probes.settings import EvaluateSettings, ProbeSettings
from speechssl.evaluation.probes.tasks import accuracy
from speechssl.evaluation.recordings import Recording, columns_of

SPEAKERS = [str(1000 + 7 * number) for number in range(16)]


def recordings(folder: str = "data", **more: str) -> list[Recording]:
    """Twelve recordings of each speaker, whose name is a number; chapters are numbers too, and each has an age."""
    return [
        Recording(f"{speaker}/{index}.flac", Path(f"/{folder}"), 16000, "train",
                  {"speaker": speaker, "chapter": str(50 + number % 12), "age": str(20 + number), **more})
        for number, speaker in enumerate(SPEAKERS)
        for index in range(12)
    ]  # fmt: skip


def settings(**probe: object) -> EvaluateSettings:
    return EvaluateSettings(data_dir="data", out_dir="out", encoders={}, probe=ProbeSettings(**probe))


def tasks(data: list[Recording], test: list[Recording] | None = None, **probe: object) -> dict[str, ColumnTask]:
    return {task.name: task for task in column_tasks(columns_of(data), data, test, settings(**probe))[0]}


def test_only_what_is_measured_is_cut_into_quarters_and_codes_are_classes() -> None:
    found = {name: task.description for name, task in tasks(recordings()).items()}
    assert {name: task["classes"] for name, task in found.items()} == {"speaker": 16, "chapter": 4, "age": 4}
    # Twelve chapters, of which four have two speakers.
    assert found["chapter"]["left_out"] == 8 * 12 and found["speaker"]["chance"] == 1 / 16
    assert [name for name, task in found.items() if "quarters" in task.get("note", "")] == ["age"]
    other = tasks(recordings(), quarters=["chapter"], columns=["age", "chapter"], min_class_count=12)
    assert "quarters" in other["chapter"].description["note"] and "note" not in other["age"].description


@pytest.mark.parametrize("cell", ["unknown", "nan"])
def test_what_is_no_number_among_numbers_is_unknown(cell: str) -> None:
    strange = recordings("test", age=cell)[:10]
    task = tasks(recordings(), recordings("test") + strange)["age"]
    assert task.description["test"] == len(recordings()) and task.description["parts"].startswith("test part")
    assert tasks(recordings() + strange)["age"].description == tasks(recordings())["age"].description


def test_every_split_that_is_not_for_training_is_tested() -> None:
    """LibriSpeech has `test-clean` and `test-other`."""
    data = recordings()
    splits = {0: "test-clean", 1: "test-other", 2: "valid", 3: "valid"}
    divided = [replace(recording, split=splits.get(place // 12 % 8, "train")) for place, recording in enumerate(data)]
    task = tasks(divided)["chapter"]
    fold = task._plan.folds[0]
    parts = [{recording.split for recording in part.recordings} for part in (fold.train, fold.dev, fold.test)]
    assert parts == [{"train"}, {"valid"}, {"test-clean", "test-other"}]
    # Where nothing is for training, the recordings are divided as if no split were named.
    only = [recording for recording in divided if recording.split.startswith("test")]
    assert "folds" in tasks(only)["speaker"].description["parts"]


def test_a_column_of_words_is_not_cut() -> None:
    words = recordings(age="twenties")[:96] + recordings(age="thirties")[96:]
    assert tasks(words)["age"].description["classes"] == 2


def test_a_column_to_cut_must_be_there_and_is_not_the_speaker() -> None:
    with pytest.raises(UserError, match=r"no column 'agee'; did you mean 'age'\? .*mend probe\.quarters"):
        tasks(recordings(), quarters=["agee"])
    with pytest.raises(UserError, match=r"probe\.quarters has speaker, whose numbers are names: leave it out"):
        settings(quarters=["speaker"])


def test_the_reported_layer_is_the_best_on_dev_whatever_the_test_part_says() -> None:
    """Two folds whose dev parts choose one layer each; on the test part the other one is right."""
    right, wrong = torch.tensor([0, 1, 0]), torch.tensor([1, 0, 1])

    def fold(chosen: int) -> ProbeResult:
        dev = [0.9 if layer == chosen else 0.3 for layer in range(2)]
        predictions = torch.stack([wrong if layer == chosen else right for layer in range(2)])
        return ProbeResult(dev, [1.0, 1.0], predictions, 0.5, right, [0.5, 0.5])

    for folds, best_layer in (([1], 1), ([0], 0), ([1, 0, 1], 1)):
        score = summarise([fold(chosen) for chosen in folds], ["a", "b", "a"] * len(folds), ["a", "b"], accuracy)
        assert score.best == 0.0 and score.best_layer == best_layer
        assert score.details["best_accuracy"] == 0.0 and score.weighted == 1.0
        assert score.layers is not None and max(score.layers) > 0.0
