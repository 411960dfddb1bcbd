"""The recipes of UnFuSeD and of the objectives: clusters of each seed, the file of tasks, two stages of LAPE."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from speechssl.cli.configuration import load_settings
from tests.recipes.conftest import OBJECTIVES, UNFUSED, command_named


@pytest.mark.parametrize(("clusters", "k"), [("0", "k=null"), ("10", "k=10")])
def test_unfused_distils_every_seed_on_clusters_of_its_own(clusters: str, k: str, checkout: Any) -> None:
    done = checkout.run(UNFUSED, "--seeds", "2", "--clusters", clusters, "--audio-dir", ".")
    assert done.returncode == 0, done.stderr
    for program, name, *words in checkout.calls:
        assert program == "speechssl"
        load_settings(command_named(name), words)
    each = ["pretrain_clips"] * 2 + ["cluster"] * 2 + ["distill"] * 2
    manifests = ["manifest", "training_part", "manifest"]
    assert checkout.commands() == [*manifests, *each, "evaluate", "evaluate", "report"]
    heard = [word for call in checkout.calls for word in call if word.startswith(("manifests=", "data.train="))]
    assert [("_heard/train.tsv" in word) for word in heard] == [False, False, True, True, True, True]
    assert all(k in call for call in checkout.calls if call[1] == "cluster")
    read = [word for call in checkout.calls for word in call if word.startswith(("encoder=", "clusters="))]
    folders = [word.rpartition("/")[2] for word in read]
    assert folders == ["pretrained-seed1", "pretrained-seed2", "clusters-seed1", "clusters-seed2"]


@pytest.mark.parametrize("recipe", [UNFUSED, OBJECTIVES])
def test_neighbours_are_watched_where_the_held_out_audio_has_classes(recipe: str, checkout: Any) -> None:
    for options, watched in (([], True), (["--audio-dir", "."], False)):
        assert checkout.run(recipe, *options).returncode == 0
        pretrained = [call for call in checkout.calls if call[1] == "pretrain_clips"]
        assert pretrained and all(("watch_column=language" in call) == watched for call in pretrained)


@pytest.mark.parametrize("recipe", [UNFUSED, OBJECTIVES])
def test_settings_of_fine_tuning_are_left_out_of_the_linear_stage(recipe: str, checkout: Any, tmp_path: Path) -> None:
    """Both stages are `speechssl evaluate`, and with frozen encoders it refuses settings of fine-tuning."""
    (tmp_path / "mine.conf").write_text("evaluate finetune.precision=fp32\nevaluate batch_size=16\n")
    done = checkout.run(recipe, "--config", str(tmp_path / "mine.conf"))
    assert done.returncode == 0, done.stderr
    stages = [call for call in checkout.calls if call[1] == "evaluate"]
    assert all("batch_size=16" in call for call in stages)
    for call in stages:
        assert ("finetune.precision=fp32" in call) == ("mode=finetune" in call)
        load_settings(command_named("evaluate"), call[2:])
    assert len(stages) == 2


def test_objectives_are_pretrained_once_and_distilled_and_measured_in_every_task(checkout: Any, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.txt"
    tasks.write_text(
        "# two tasks\n"
        "one  corpus=folder corpus.audio_dir=. k=10 task.name=one task.clip_seconds=5  # ten classes\n"
        "two  corpus=asterisk_languages task=asterisk_languages\n"
    )
    options = ["--objectives", "decar_mini,cola", "--finetuned", "unfused", "--encoders", "hubert: [a, b]"]
    options += ["--finetune-epochs", "7"]
    done = checkout.run(OBJECTIVES, "--tasks", str(tasks), "--seeds", "2", *options)
    assert done.returncode == 0, done.stderr
    for program, name, *words in checkout.calls:
        assert program == "speechssl"
        load_settings(command_named(name), words)
    distilled = ["cluster", "distill"] * 4
    assert checkout.commands() == [
        "manifest", *["manifest", "training_part"] * 2, *["pretrain_clips"] * 4, *distilled, *["evaluate"] * 4, "report"
    ]  # fmt: skip
    calls = [" ".join(call) for call in checkout.calls]
    assert [("crops=different" in call) == ("cola" in call) for call in calls if "pretrain_clips" in call] == [True] * 4
    assert [re.search(r" k=(\d+)", call) is not None for call in calls if " cluster " in call] == [
        True,
        True,
        False,
        False,
    ]
    frozen, _, tuned, _ = (call for call in calls if " evaluate " in call)
    rows = "unfused:[exp/objectives/unfused/one-seed1,exp/objectives/unfused/one-seed2]"
    assert frozen.endswith(f"cola:[exp/objectives/cola-seed1,exp/objectives/cola-seed2],{rows},hubert: [a, b]}}")
    assert tuned.endswith(f"encoders={{{rows}}}") and " mode=finetune epochs=7 " in tuned
    assert "epochs=" not in frozen


def test_the_teacher_is_one_of_the_objectives(checkout: Any) -> None:
    done = checkout.run(OBJECTIVES, "--teacher", "moko")
    assert (done.returncode, checkout.calls) == (2, [])
    assert "--teacher moko is not one of --objectives" in done.stderr


def test_a_setting_of_no_command_in_the_file_of_tasks_is_named(checkout: Any, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.txt"
    tasks.write_text("one  corpus=folder tsk.name=one\n")
    done = checkout.run(OBJECTIVES, "--tasks", str(tasks))
    assert (done.returncode, checkout.calls) == (2, [])
    assert f"--tasks {tasks}, one: 'tsk.name=one' begins with none of corpus, task and k" in done.stderr


def test_a_file_of_tasks_is_read_as_a_configuration(checkout: Any, tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.txt"
    tasks.write_bytes(b"  one\tcorpus=folder corpus.audio_dir=/data/c#sharp task.name=one # its own\r\n\r\n\t# none\n")
    done = checkout.run(OBJECTIVES, "--tasks", str(tasks), "--stop-stage", "1")
    assert done.returncode == 0, done.stderr
    _, manifest, heard = checkout.calls
    assert manifest[2:4] == ["corpus=folder", "corpus.audio_dir=/data/c#sharp"]
    assert "task.name=one" in heard


def test_a_file_of_tasks_is_found_from_where_the_user_is(checkout: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("one  corpus=folder corpus.audio_dir=. task.name=one\n")
    done = checkout.run(OBJECTIVES, "--tasks", "mine.txt", "--stop-stage", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "data_dir=exp/objectives/data/one" in checkout.calls[-1]
    assert "--tasks gone.txt is no file" in checkout.run(OBJECTIVES, "--tasks", "gone.txt").stderr
