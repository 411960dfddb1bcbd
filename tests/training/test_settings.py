"""Settings of training that contradict each other are told before anything is read."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest

from speechssl.cli.configuration import load_settings
from speechssl.errors import UserError

NEEDED = {
    "pretrain": ["data.labels=[units]"],
    "pretrain_clips": [],
    "finetune": ["column=kind", "schedule.epochs=null"],
    "distill": ["clusters=clusters", "schedule.epochs=null"],
}


def load(command: str, *given: str) -> None:
    needed = ["data.train=train.tsv", "data.valid=valid.tsv", "schedule.steps=9", "out=run"]
    load_settings(importlib.import_module(f"speechssl.cli.{command}").COMMAND, [*needed, *NEEDED[command], *given])


@pytest.mark.parametrize("command", NEEDED)
def test_what_is_trained_on_does_not_judge_the_training(command: str, tmp_path: Path) -> None:
    load(command)
    os.symlink("a", tmp_path / "b")
    for train, valid in (("a.tsv", "b/../a.tsv"), (f"{tmp_path}/a/x.tsv", f"{tmp_path}/b/x.tsv")):
        with pytest.raises(UserError, match=f"data.valid={valid} is data.train too: give held-out recordings"):
            load(command, f"data.train={train}", f"data.valid={valid}")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["data.labels=[exp/u,exp/./u]"], r"data\.labels=.* names a folder twice"),
        (["model.cls_frame=true"], r"model\.cls_frame=true is for objective\.topic_pool=cls: give that too"),
        (["objective=hubert", "data.topics="], r"data\.topics is empty: give a value, or leave it out"),
        (["schedule=infinite", "schedule.constant=1.5"], r"schedule\.constant=1\.5 must be more than 0 and at most 1"),
        (["schedule=infinite", "schedule.final=0.3"], r"schedule\.final=0\.3 must be more than 0 and at most 0\.25"),
        (
            ["schedule=infinite", "schedule.final=0.02", "schedule.anneal=0"],
            r"schedule\.final=0\.02 is the end of the anneal, and schedule\.anneal=0 has none",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(given: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load("pretrain", *given)


def test_two_sets_of_labels_and_a_schedule_without_anneal_are_taken() -> None:
    load("pretrain", "data.labels=[exp/u,exp/v]", "schedule=infinite", "schedule.anneal=0")
