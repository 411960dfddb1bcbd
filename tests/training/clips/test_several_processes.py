"""Training on clips in several processes, each of which draws for itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import torch
from safetensors.torch import load_file

from tests.training.clips.conftest import SMALL

LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "speechssl"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_resumed_run_is_as_an_unbroken_one(data, tmp_path):
    """The first process's state is saved for all: memories of the augmentation and of k-mix, queue, temperatures."""
    small = ["projection=16", "queue=24", "clusters=8", "cluster_hidden=32", "temperatures.individual=true"]
    settings = ["objective=slicer", *(f"objective.slicer.{setting}" for setting in small), "optim=adam_clips"]
    run = ["pretrain_clips", *data, *SMALL, *settings, "schedule.steps=6", "run.keep_checkpoints=3"]

    def weights() -> dict[str, torch.Tensor]:
        done = subprocess.run([*LAUNCHER, *run, f"out={tmp_path}"], env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return load_file(tmp_path / "encoder" / "encoder.safetensors")

    unbroken = weights()
    shutil.rmtree(tmp_path / "checkpoints" / "step_6")
    shutil.rmtree(tmp_path / "encoder")
    assert (tmp_path / "checkpoints" / "step_4").exists()
    resumed = weights()
    for name, weight in unbroken.items():
        assert torch.equal(resumed[name], weight), name
