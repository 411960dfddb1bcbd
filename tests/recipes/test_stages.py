"""How stages run: logs, failures, folders, launchers, options."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from speechssl.cli.configuration import load_settings
from tests.recipes.conftest import MINI, RECIPES, command_named, script, words_of


def test_an_environment_of_ones_own_is_taken_as_it_is(checkout: Any, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.move(checkout.folder / ".venv" / "bin", own)
    options, path = ("mini/hubertopic", "--audio-dir", ".", "--stop-stage", "1"), f"{own}:{os.environ['PATH']}"
    done = checkout.run(*options, SPEECHSSL_ENVIRONMENT="own", PATH=path)
    assert done.returncode == 0 and checkout.commands() == ["manifest"] and "setup: ready" not in done.stdout
    done = checkout.run(*options, SPEECHSSL_ENVIRONMENT="own", PATH="/usr/bin:/bin")
    assert done.returncode == 2 and "no speechssl is on the PATH" in done.stderr
    done = checkout.run(*options, SPEECHSSL_ENVIRONMENT="mine")
    assert done.returncode == 2 and "SPEECHSSL_ENVIRONMENT=mine is not known" in done.stderr


def test_only_the_stages_asked_for_run_and_say_what_they_do(checkout: Any) -> None:
    done = checkout.run(MINI, "--stage", "2", "--stop-stage", "3")
    assert checkout.commands() == ["kmeans", "label", "topics"]
    assert "== stage 2: units" in done.stdout
    assert "   reads  exp/mini/data/asterisk\n   writes exp/mini/units\n   log    exp/mini/log/units.log" in done.stdout
    log = (checkout.folder / "exp/mini/log/units.log").read_text()
    assert "$ speechssl kmeans k=100 manifest=exp/mini/data/asterisk/train.tsv" in log
    assert "output of kmeans\n" in log
    assert "output of label\n" in log


def test_a_failure_shows_the_end_of_its_log_and_stops(checkout: Any) -> None:
    done = checkout.run(MINI, FAIL="topics")
    assert done.returncode == 1
    assert checkout.commands()[-1] == "topics"
    shown = done.stderr.split("The last 20 lines of exp/mini/log/topics.log:\n")[1].splitlines()
    assert shown[0] == "  | line 31"
    assert shown[-1] == "  | speechssl: it went wrong"
    assert len(shown) == 20
    assert "speechssl topics' failed with status 1" in done.stderr


def test_a_stage_that_starts_again_keeps_its_log(checkout: Any) -> None:
    for _ in range(2):
        checkout.run(MINI, "--stage", "2", "--stop-stage", "2")
    log = (checkout.folder / "exp/mini/log/units.log").read_text()
    assert log.count("output of kmeans\n") == 2
    assert len(re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d: stage 2$", log, re.MULTILINE)) == 2


def test_a_command_that_was_killed_is_said_to_go_on(checkout: Any) -> None:
    done = checkout.run(MINI, KILL="topics")
    assert done.returncode == 128 + 15
    assert "failed with status 143\nIt was ended by signal 15; the same command goes on.\n" in done.stderr


def test_a_stage_whose_log_cannot_be_written_is_not_passed_over(checkout: Any) -> None:
    log = checkout.folder / "exp/mini/log/units.log"
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    done = checkout.run(MINI, "--stage", "2")
    assert done.returncode == 2 and checkout.commands() == []
    assert "run.sh: cannot write exp/mini/log/units.log" in done.stderr


def test_several_gpus_start_one_process_each(checkout: Any) -> None:
    checkout.run(MINI, "--method", "hubertopic", "--ngpu", "2", "--stage", "2", "--stop-stage", "4")
    launched = [call for call in checkout.calls if call[0] == "torchrun"]
    start = ["torchrun", "--standalone", "--nproc-per-node", "2", "-m", "speechssl"]
    assert [call[:7] for call in launched] == [[*start, name] for name in ("kmeans", "label", "pretrain")]


def test_a_launcher_takes_the_place_of_torchrun(checkout: Any) -> None:
    checkout.run(MINI, "--stage", "4", "--stop-stage", "4", LAUNCHER="torchrun --nnodes=4 --rdzv-id=7")
    assert checkout.calls[0][:6] == ["torchrun", "--nnodes=4", "--rdzv-id=7", "-m", "speechssl", "pretrain"]


def test_slurm_starts_one_launcher_a_machine_with_the_options_of_the_recipe(checkout: Any, tmp_path: Path) -> None:
    programs = {"scontrol": 'printf "%s\\n" gpu07 gpu08', "srun": 'echo "$SRUN_CPUS_PER_TASK processors"; "$@"'}
    for name, line in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / name).chmod(0o755)
    job = {
        "SLURM_JOB_NODELIST": "gpu[07-08]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "4711",
        "SLURM_GPUS_ON_NODE": "8",
        "SLURM_CPUS_PER_TASK": "64",
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }
    options = ["--corpus-root", ".", "--stage", "2", "--stop-stage", "3"]
    done = checkout.run("recipes/librispeech/hubertopic/slurm.sh", *options, **job)
    assert done.returncode == 0, done.stderr
    assert "64 processors" in done.stdout
    rendezvous = ["--rdzv-id=4711", "--rdzv-backend=c10d", "--rdzv-endpoint=gpu07:29400"]
    start = ["torchrun", "--nnodes=2", "--nproc-per-node=8", *rendezvous, "-m", "speechssl"]
    launched = [call[:9] for call in checkout.calls if call[0] == "torchrun"]
    assert launched == [[*start, name] for name in ("kmeans", "label", "pretrain")]


def test_own_audio_is_found_from_where_the_user_is(checkout: Any, tmp_path: Path) -> None:
    audio = tmp_path / "My 'Own' {Audio} (2), [x]"
    audio.mkdir()
    (tmp_path / "labels.tsv").touch()
    done = checkout.run(MINI, "--audio-dir", audio.name, "--metadata", "labels.tsv", "--stop-stage", "1", cwd=tmp_path)
    assert done.returncode == 0
    settings = load_settings(command_named("manifest"), words_of(checkout.calls, "manifest"))
    assert (settings.corpus.name, settings.corpus.audio_dir) == ("folder", str(audio))
    assert settings.corpus.metadata == str(tmp_path / "labels.tsv")
    assert re.fullmatch(r"exp/My__Own___Audio___2____x_-[0-9]+/data/folder", settings.out)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_default_folder_is_below_the_project_from_anywhere(recipe: str, checkout: Any, tmp_path: Path) -> None:
    documented = re.search(r"^#   --exp DIR .*\(default (\S+?)[,)]", script(recipe), flags=re.MULTILINE)
    assert documented is not None
    done = checkout.run(recipe, "--stage", "9", "--stop-stage", "8", cwd=tmp_path)
    assert "--stage 9 is after" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    assert (checkout.folder / documented[1] / "log").is_dir()


def test_the_run_folder_keeps_a_command_that_does_it_again(checkout: Any, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    checkout.run(MINI, "--audio-dir", "a b", "--exp", str(checkout.folder / "exp/x"), "--stop-stage", "2", cwd=tmp_path)
    before = checkout.calls
    assert len(before) == 3
    checkout.run("exp/x/run.sh", cwd=Path("/"))
    assert checkout.calls == before


def test_a_run_folder_keeps_each_command_that_made_it(checkout: Any) -> None:
    made = ["--exp", "exp/x", "--seeds", "2", "--stop-stage", "2"], ["--exp", "exp/x", "--stage", "7"]
    for options in (*made, made[0]):
        checkout.run(MINI, *options)
    kept = [line for line in (checkout.folder / "exp/x/run.sh").read_text().splitlines() if line.startswith("cd ")]
    assert [line.partition("run.sh ")[2].split() for line in kept] == list(made)


def test_folders_of_other_alphabets_are_experiments_of_their_own(checkout: Any) -> None:
    for name in ("\u5f55\u97f3", "\u97f3\u4e50", "plain"):
        (checkout.folder / name).mkdir()
        assert checkout.run(MINI, "--audio-dir", name, "--stop-stage", "1").returncode == 0
    experiments = sorted(folder.name for folder in (checkout.folder / "exp").iterdir())
    assert len(experiments) == 3 and experiments[-1] == "plain"


def test_an_option_takes_its_value_after_an_equals_sign_too(checkout: Any) -> None:
    checkout.run(MINI, "--method=hubertopic", "--seeds=3", "--stage=4", "--stop-stage=4")
    assert checkout.commands() == ["pretrain"] * 3


def test_the_kind_of_an_option_stays_that_of_its_default(checkout: Any) -> None:
    done = checkout.run(MINI, "--minutes", "5", "--minutes", "0.5", "--stage", "4", "--stop-stage", "4")
    assert done.returncode == 0, done.stderr
    done = checkout.run(MINI, "--seeds", "2", "--seeds", "0.5")
    assert done.stderr.startswith("run.sh: --seeds takes a whole number, not '0.5'")
