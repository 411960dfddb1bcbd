"""What training says while it goes on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from speechssl.training import progress
from speechssl.training.fairseq2_trainer import MetricBag
from speechssl.training.progress import TrainingProgress
from speechssl.training.unit import ModelTrainUnit


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == progress.__name__]


def test_where_there_is_no_terminal_the_log_tells_how_far_it_is(
    seconds: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[float] = []

    def loss() -> float:
        asked.append(seconds[0])
        return 3.4001

    with caplog.at_level("INFO", logger="speechssl"):
        task = TrainingProgress(True, loss).create_task("train", total=50, completed=10)
        for _ in range(20):
            task.step()
            seconds[0] += 3.0
        task.close()
    # Updates 11 to 30 begin three seconds apart: 17 are done after 21 seconds, three seconds each.
    assert lines(caplog) == [
        "update 17 of 50, loss 3.4, 1.6 minutes left",
        "update 24 of 50, loss 3.4, 1.3 minutes left",
    ]
    assert len(asked) == 2


@pytest.mark.parametrize(("shown", "name"), [(False, "train"), (True, "eval")])
def test_other_processes_and_validation_say_nothing(
    seconds: list[float], caplog: pytest.LogCaptureFixture, shown: bool, name: str
) -> None:
    with caplog.at_level("INFO", logger="speechssl"):
        task = TrainingProgress(shown).create_task(name, total=5)
        for _ in range(5):
            task.step()
            seconds[0] += 60
    assert not lines(caplog)


def test_an_update_that_is_taken_back_is_not_counted(seconds: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="speechssl"):
        task = TrainingProgress(True).create_task("train", total=5)
        for value in (1, 1, -1, 1):
            task.step(value)
            seconds[0] += 15
    assert lines(caplog) == ["update 1 of 5, 3.0 minutes left"]


class Half(nn.Module):
    def forward(self, batch: SimpleNamespace) -> tuple[torch.Tensor, dict]:
        return torch.tensor(batch.loss, requires_grad=True) / 2, {}


def test_the_loss_is_that_of_the_newest_batch_as_the_update_has_it() -> None:
    unit = ModelTrainUnit(Half(), [])
    assert unit.newest_loss() is None
    for loss in (8.0, 3.0):
        batch = SimpleNamespace(names=["a"], update_seconds=1.0, share=2, loss=loss)
        unit.process_batch(batch, MetricBag(torch.device("cpu")))  # type: ignore[arg-type]
    assert unit.newest_loss() == 3.0
