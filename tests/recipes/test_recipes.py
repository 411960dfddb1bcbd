"""Every recipe: its options, its settings, and that each command it calls would accept what it is given."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from speechssl.cli.configuration import compose_config, load_settings
from tests.recipes.conftest import MINI, RECIPES, ROOT, command_named, script, words_of

CONFS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "recipes").rglob("conf/*.conf"))
PRETRAINING = [recipe for recipe in RECIPES if recipe.endswith("/hubertopic")]


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


def test_phone_times_of_own_audio_are_probed(checkout: Any, tmp_path: Path) -> None:
    data = tmp_path / "exp" / "data" / "folder"
    data.mkdir(parents=True)
    options = ["--audio-dir", str(tmp_path), "--exp", str(tmp_path / "exp"), "--stage", "5", "--stop-stage", "5"]
    checkout.run(MINI, *options)
    assert not any(word.startswith("phones_dirs") for word in words_of(checkout.calls, "evaluate"))
    (data / "alignments.tsv").touch()
    checkout.run(MINI, *options)
    assert f"phones_dirs=[{data}]" in words_of(checkout.calls, "evaluate")
