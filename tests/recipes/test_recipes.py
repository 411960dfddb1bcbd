"""Every recipe: its options, its stages, and that each command it calls would accept what it is given."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from speechssl.cli.configuration import compose_config, load_settings
from speechssl.evaluation.superb.settings import _UNTRAINED

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.parent.relative_to(ROOT / "recipes").as_posix() for path in (ROOT / "recipes").rglob("run.sh"))
CONFS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "recipes").rglob("conf/*.conf"))
MINI = "mini/hubertopic"
UNFUSED = "lape/unfused"
OBJECTIVES = "lape/objectives"
PRETRAINING = [recipe for recipe in RECIPES if recipe.endswith("/hubertopic")]


def script(recipe: str) -> str:
    return (ROOT / "recipes" / recipe / "run.sh").read_text()


def command_named(name: str) -> Any:
    return importlib.import_module(f"speechssl.cli.{name}").COMMAND


def words_of(calls: list[list[str]], command: str) -> list[str]:
    """Return the words of the only call of a command."""
    (call,) = [call for call in calls if call[1] == command]
    return call[2:]


def test_every_folder_of_recipes_is_a_recipe() -> None:
    confs = {path.parent for path in (ROOT / "recipes").rglob("*.conf")}
    folders = {path.parent for path in (ROOT / "recipes").rglob("*") if path.is_file()} - confs
    assert sorted(path.relative_to(ROOT / "recipes").as_posix() for path in folders) == RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_short_and_documented(recipe: str) -> None:
    assert len(script(recipe).splitlines()) < 150
    assert f"`recipes/{recipe}`" in (ROOT / "docs" / "recipes.md").read_text()


def test_shellcheck_finds_nothing() -> None:
    scripts = [*(ROOT / "recipes").rglob("*.sh"), *ROOT.glob("tools/*.sh"), ROOT / ".ci" / "run"]
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run(
        [shellcheck, "--external-sources", *scripts], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_option_has_a_default_and_a_line_of_help(recipe: str, checkout: Any) -> None:
    done = checkout.run(recipe, "--help")
    assert done.returncode == 0
    helped = re.findall(r"^  --([a-z0-9-]+) ", done.stdout, flags=re.MULTILINE)
    defaults = re.findall(r"^([a-z0-9_]+)=", script(recipe).split("\nset -euo")[1].split("\nsource ")[0], re.MULTILINE)
    assert sorted(helped) == sorted(name.replace("_", "-") for name in defaults)
    assert checkout.calls == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_option_takes_a_value_of_its_kind(recipe: str, checkout: Any) -> None:
    header = script(recipe).split("\nset -euo")[0]
    documented = re.findall(r"^#   (--[a-z0-9-]+) (\S+)", header, flags=re.MULTILINE)
    kinds = {"DIR": ".", "FILE": "tools/stages.sh", "NAME": "decar", "LIST": "decar"}
    options = []
    for option, metavar in documented:
        options += [option, kinds.get(metavar, "1" if len(metavar) == 1 else metavar.split("|")[0])]
    done = checkout.run(recipe, *options, "--stage", "9", "--stop-stage", "8")
    assert done.stderr == f"recipes/{recipe}/run.sh: --stage 9 is after --stop-stage 8\n"
    assert len(documented) > 6


@pytest.mark.parametrize("recipe", RECIPES)
def test_stages_named_in_the_help_are_those_of_the_script(recipe: str) -> None:
    named = re.search(r"# stages: (.*)", script(recipe))
    assert named is not None
    called = re.findall(r"\bstage (\d+) (\w+)", script(recipe).split("\nset -euo")[1])
    assert named[1] == ", ".join(f"{number} {name}" for number, name in called)
    assert f"stop_stage={len(called)}\n" in script(recipe)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--sedes", "3"], "unknown option --sedes; did you mean --seeds?"),
        (["--frobnicate", "3"], "unknown option --frobnicate ("),
        (["--method", "hubret"], "--method takes one of hubertopic, hubert, both, not 'hubret'"),
        (["--minutes", "long"], "--minutes takes a number, not 'long'"),
        (["--seeds", "1.5"], "--seeds takes a whole number, not '1.5'"),
        (["--stage"], "--stage needs a value"),
        (["--exp", "--stage", "2"], "--exp needs a value, not --stage"),
        (["units"], "unexpected argument 'units'"),
        (["--audio-dir", "nowhere"], "--audio-dir nowhere is no folder"),
        (["--config", "nowhere.conf"], "--config nowhere.conf is no file"),
        (["--exp", "a{b"], "use only letters, digits"),
        (["--stage", "5", "--stop-stage", "4"], "--stage 5 is after --stop-stage 4"),
    ],
)
def test_a_wrong_option_is_one_line_and_nothing_runs(checkout: Any, options: list[str], message: str) -> None:
    done = checkout.run(MINI, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert checkout.calls == []


@pytest.mark.parametrize("recipe", PRETRAINING)
@pytest.mark.parametrize("method", ["hubertopic", "hubert", "both"])
def test_every_command_accepts_what_the_recipe_gives_it(recipe: str, method: str, checkout: Any) -> None:
    timit = [] if recipe == MINI else ["--timit", "."]
    done = checkout.run(recipe, "--method", method, "--seeds", "2", *timit)
    assert done.returncode == 0, done.stderr
    for program, name, *words in checkout.calls:
        assert program == "speechssl"
        load_settings(command_named(name), words)
    trained = [re.search(r"out=(\S+)", " ".join(call))[1] for call in checkout.calls if call[1] == "pretrain"]
    methods = ["hubert", "hubertopic"] if method == "both" else [method]
    runs = [folder.rpartition("/")[2] for folder in trained if "/iteration1/" not in folder]
    assert runs == [f"{each}-seed{seed}" for seed in (1, 2) for each in methods]
    assert ("topics" in checkout.commands()) == (method != "hubert")


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


def test_superb_says_what_is_there_before_it_evaluates(checkout: Any) -> None:
    done = checkout.run("superb", "--corpus-root", ".", "--encoders", "one: a, two: [b, c]", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    first, second = checkout.calls
    assert "check=true" in first and "check=true" not in second
    for _, name, *words in checkout.calls:
        load_settings(command_named(name), words)
    assert "encoders={one: a, two: [b, c]}" in second and "seeds=[1,2]" in second


def test_superb_takes_a_corpus_of_csv_files_instead(checkout: Any) -> None:
    done = checkout.run("superb", "--data-dir", ".", "--task", "ks", "--encoders", "one: a", "--exp", "exp/mine")
    assert done.returncode == 0, done.stderr
    for _, name, *words in checkout.calls:
        settings = load_settings(command_named(name), words)
        assert settings.data_dir == "." and settings.corpus_dir is None
    assert settings.cache_dir == "exp/mine/cache"


def test_superb_leaves_out_what_a_search_does_not_take(checkout: Any, tmp_path: Path) -> None:
    given = {
        "labels": "[a]",
        "preset": "quick",
        "steps": "9",
        "check_every": "3",
        "batch_size": "2",
        "lr": "[1]",
        "seeds": "[3]",
        "head_width": "64",
        "head_bf16": "true",
    }
    assert set(given) == set(_UNTRAINED)
    conf = tmp_path / "mine.conf"
    conf.write_text("".join(f"evaluate  {name}={value}\n" for name, value in given.items()) + "evaluate cache_gb=3\n")
    options = ("--corpus-root", ".", "--encoders", "one: a", "--seeds", "2", "--config", str(conf))
    done = checkout.run("superb", *options, "--task", "qbe")
    assert done.returncode == 0, done.stderr
    for _, name, *words in checkout.calls:
        assert load_settings(command_named(name), words).cache_gb == 3
    assert all(f"left out of evaluate here: {name}={value}\n" in done.stderr for name, value in given.items())
    conf.write_text("evaluate preset=quick\nevaluate steps=9\n")
    checkout.run("superb", *options, "--task", "ks")
    assert {"preset=quick", "steps=9", "seeds=[1,2]"} <= set(checkout.calls[1])


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ((), "--corpus-root or --data-dir is needed by stage 1"),
        (("--stage", "2", "--encoders", "one: a"), "--corpus-root or --data-dir is needed by stage 2"),
        (("--corpus-root", "."), "--encoders is needed by stage 2"),
        (("--data-dir", "."), "--encoders is needed by stage 2"),
        (("--corpus-root", ".", "--stop-stage", "1"), ""),
        (("--data-dir", ".", "--stop-stage", "1"), ""),
    ],
)
def test_superb_says_at_once_what_is_needed(checkout: Any, options: tuple[str, ...], needed: str) -> None:
    done = checkout.run("superb", *options)
    assert done.returncode == (2 if needed else 0)
    assert needed in done.stderr and ("setup: ready" in done.stdout) == (not needed)


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


@pytest.mark.parametrize("conf", CONFS)
def test_every_configuration_of_a_recipe_composes(conf: str, checkout: Any) -> None:
    recipe = conf.removeprefix("recipes/").split("/conf/")[0]
    needed = ("--corpus-root", ".", "--encoders", "one: a") if recipe == "superb" else ()
    assert checkout.run(recipe, "--config", conf, *needed).returncode == 0
    given = [line.split("#")[0].split() for line in (ROOT / conf).read_text().splitlines()]
    for name, override in filter(None, given):
        calls = [call for call in checkout.calls if call[1] == name]
        assert calls, f"{conf} sets {override} of {name}, which the recipe never calls"
        assert all(override in call for call in calls)
        compose_config(command_named(name), calls[0][2:])


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


def test_a_setting_of_the_user_wins_over_the_recipe_and_its_conf(checkout: Any, tmp_path: Path) -> None:
    conf = tmp_path / "mine.conf"
    conf.write_text("# mine\npretrain model=small  # larger\npretrain schedule.minutes=2\nkmeans   k=50\n")
    checkout.run(MINI, "--method", "hubertopic", "--config", "mine.conf", cwd=tmp_path)
    pretrain = words_of(checkout.calls, "pretrain")
    assert [word for word in pretrain if word.startswith(("model=", "schedule."))] == [
        "model=small",
        "schedule.minutes=2",
    ]
    assert "k=50" in words_of(checkout.calls, "kmeans")


def test_lines_of_a_configuration_may_be_indented_and_end_as_on_windows(checkout: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.conf").write_bytes(
        b"  topics title=a#b # no part of it\r\n\r\n\ttopics\ttopics=7\r\n#pretrain a=b\r\n"
    )
    options = ("--stage", "3", "--stop-stage", "3", "--config", "mine.conf")
    assert checkout.run(MINI, *options, cwd=tmp_path).returncode == 0
    assert words_of(checkout.calls, "topics")[-2:] == ["title=a#b", "topics=7"]


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("pretain model=small", "line 2: no command named 'pretain' (known: cluster, distill, "),
        ("command model=small", "line 2: no command named 'command'"),
        ("pretrain", "line 2: after pretrain comes key=value, not ''"),
        ("pretrain model small", "line 2: after pretrain comes key=value, not 'model small'"),
    ],
)
def test_a_line_that_no_command_reads_is_one_error(checkout: Any, line: str, message: str, end: str) -> None:
    (checkout.folder / "mine.conf").write_text(f"# mine\n{line}{end}")
    done = checkout.run(MINI, "--config", "mine.conf")
    assert done.returncode == 2 and checkout.calls == []
    assert message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("model", "band"), [("tiny", True), ("fast", True), ("small", False)])
def test_telephone_speech_has_its_band_where_the_model_has_bands(checkout: Any, model: str, band: bool) -> None:
    (checkout.folder / "mine.conf").write_text(f"pretrain model={model}\n")
    checkout.run(
        MINI, "--method", "hubert", "--config", "mine.conf", "--stage", "4", "--stop-stage", "4", cwd=checkout.folder
    )
    assert ("model.fbank_high_hz=4000" in words_of(checkout.calls, "pretrain")) is band


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


def test_a_file_of_tasks_is_found_from_where_the_user_is(checkout: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("one  corpus=folder corpus.audio_dir=. task.name=one\n")
    done = checkout.run(OBJECTIVES, "--tasks", "mine.txt", "--stop-stage", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "data_dir=exp/objectives/data/one" in checkout.calls[-1]
    assert "--tasks gone.txt is no file" in checkout.run(OBJECTIVES, "--tasks", "gone.txt").stderr


def test_phone_times_of_own_audio_are_probed(checkout: Any, tmp_path: Path) -> None:
    data = tmp_path / "exp" / "data" / "folder"
    data.mkdir(parents=True)
    options = ["--audio-dir", str(tmp_path), "--exp", str(tmp_path / "exp"), "--stage", "5", "--stop-stage", "5"]
    checkout.run(MINI, *options)
    assert not any(word.startswith("phones_dirs") for word in words_of(checkout.calls, "evaluate"))
    (data / "alignments.tsv").touch()
    checkout.run(MINI, *options)
    assert f"phones_dirs=[{data}]" in words_of(checkout.calls, "evaluate")


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
