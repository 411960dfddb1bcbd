"""How a run leaves its processes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from speechssl.errors import UserError
from speechssl.training import run
from speechssl.training.settings import ScheduleSettings


@pytest.mark.parametrize("fails", [False, True])
def test_a_process_that_fails_does_not_wait_for_the_others(tmp_path, monkeypatch, fails):
    """NCCL's end is a collective: the message of the error would never be read."""
    ended = []

    class Loop:
        def __init__(self, *_):
            pass

        def train(self):
            if fails:
                raise UserError("audio/7.wav cannot be read")

        def close(self):
            ended.append("readers")

    monkeypatch.setattr(run, "TrainingLoop", Loop)
    gangs = SimpleNamespace(close=lambda: ended.append("gangs"))
    monkeypatch.setattr(run, "create_gangs", lambda *_: gangs)
    settings = run.TrainSettings(out=str(tmp_path / "run"), schedule=ScheduleSettings(steps=1))
    if fails:
        with pytest.raises(UserError, match=r"7\.wav"):
            run.run_training(settings, lambda _: None)
    else:
        run.run_training(settings, lambda _: None)
    assert ended == (["readers"] if fails else ["readers", "gangs"])
