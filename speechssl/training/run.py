"""Start a run: the run folder, its lock, the processes."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import TypeVar

from speechssl.models.device import pick_device
from speechssl.training.device import Joined, create_gangs
from speechssl.training.loop import TrainingLoop
from speechssl.training.run_folder import RunFolder
from speechssl.training.settings import TrainSettings
from speechssl.training.trainable import Trainable

Settings = TypeVar("Settings", bound=TrainSettings)


def run_training(
    settings: Settings, open_trainable: Callable[[Settings], Trainable], joined: Joined | None = None
) -> None:
    """Train, or go on with, the run in `settings.out`; its `encoder/` is there when this returns.

    Args:
        settings: of the command.
        open_trainable: reads its data.
        joined: the processes, where they do more than this run (:func:`speechssl.training.device.joined_gang`).

    Raises:
        UserError: data, labels and settings do not fit each other, or the run folder holds another run or is in use.
    """
    folder = RunFolder(settings)
    folder.check_same_settings()
    if os.environ.get("RANK", "0") != "0":
        # The first process speaks for all; warnings name what is wrong in one of them.
        logging.getLogger("speechssl").setLevel(logging.WARNING)
    # Before anything is written: a run without its device or data leaves no folder behind.
    device = pick_device(settings.run.device, "run.device")
    trainable = open_trainable(settings)
    folder.open_log()
    with folder.locked():
        gangs = create_gangs(device, settings.run.parallel, joined)
        loop = TrainingLoop(trainable, folder, gangs)
        try:
            loop.train()
        finally:
            loop.close()
        # Not after an error of this process alone: NCCL would wait here for the others, which wait for this one, and
        # nobody would read what went wrong. torchrun stops them when this one ends.
        with contextlib.suppress(ValueError):  # the trainer has closed them
            gangs.close()
