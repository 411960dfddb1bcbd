"""Updates, batches, learning rates and heads against those of s3prl's own problems, for the tasks that it has."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from speechssl.evaluation.superb import run
from speechssl.evaluation.superb.data import read_task
from speechssl.evaluation.superb.settings import SuperbSettings
from speechssl.evaluation.superb.tasks import TASKS
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.superb.test_problems import DIM

with guarded_s3prl():
    from s3prl import problem
    from s3prl.dataio.sampler import SortedBucketingSampler

PROBLEMS = ("pr", "asr", "ks", "sid", "er", "ic", "sf", "asv", "sd")
TWO_SECONDS = 32_000


def theirs(task: str) -> tuple[problem.Problem, dict]:
    """Return s3prl's problem and its settings."""
    made = getattr(problem, f"Superb{task.upper()}")()
    return made, made.default_config()


def test_these_are_all_that_s3prl_has():
    assert {name for name in dir(problem) if name.startswith("Superb")} == {
        f"Superb{task.upper()}" for task in PROBLEMS
    }


@pytest.mark.parametrize("task", PROBLEMS)
def test_training_is_s3prl_s(task: str):
    _, settings = theirs(task)
    plan = run.plan_of(SuperbSettings(task, "data", out_dir="out", encoders={}), 1)
    train, optimizer = settings["train"], settings["build_optimizer"]
    assert (plan.steps, plan.clip) == (train["total_steps"], train["gradient_clipping"])
    assert (plan.optimizer, TASKS[task].published_lr) == (optimizer["name"].lower(), optimizer["conf"]["lr"])
    # Of ASV it looks at no validation part: it keeps a head of every so many updates.
    assert plan.check_every == train["save_step" if task == "asv" else "eval_step"]
    sampler = settings["build_batch_sampler"]["train"]
    batch_size = sampler["batch_size"]
    if task == "asr":
        # It halves a batch with an utterance that is longer than its limit, an eighth of a second.
        batch_size = len(next(iter(SortedBucketingSampler([TWO_SECONDS] * 64, **sampler))))
    assert plan.batch_size == batch_size * train["gradient_accumulate"]


@pytest.mark.parametrize("task", [task for task in PROBLEMS if task != "asv"])
def test_heads_are_s3prl_s(task: str, task_dir: Path):
    """Layers, widths, dropout, and SpecAugment of ASR and SF; of ASV see `test_verification.py`."""
    made, settings = theirs(task)
    columns = TASKS[task].columns
    ours = head_of(task, read_task(task_dir, columns))
    outputs = list(ours.parameters())[-1].shape[0]
    expected = made.build_downstream(settings["build_downstream"], DIM, outputs, 160)
    # Attributes too: what is printed of a module leaves some out.
    assert structure(ours) == structure(expected)


def head_of(task: str, data) -> nn.Module:
    if task == "sd":
        return TASKS[task].problem.head(None, DIM)  # it reads nothing of the data
    return TASKS[task].problem(data, TASKS[task].columns).head(DIM)


def structure(head: nn.Module) -> list[tuple]:
    """Return name, kind and settings of every module, and the shapes of its weights."""
    return [
        (
            name,
            type(module).__name__.replace("PackedLstm", "LSTM"),
            {key: value for key, value in vars(module).items() if not key.startswith("_") and key != "products"},
            {key: weight.shape for key, weight in module.named_parameters(recurse=False)},
        )
        for name, module in head.named_modules()
    ]
