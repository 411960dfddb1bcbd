"""Every configuration file composes, every setting is documented, and a wrong one is named."""

from __future__ import annotations

import dataclasses
import importlib
import re
import shlex
import subprocess
import sys
import typing
import zipfile
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pytest
from omegaconf import MISSING, DictConfig, OmegaConf

from speechssl.cli import configuration, evaluate
from speechssl.cli.app import COMMANDS
from speechssl.cli.command import Command
from speechssl.cli.configuration import compose_config, config_dir, field_docs, group_options, load_settings
from speechssl.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ("lape", "hear", "superb")
CONFIGURED = [name for name in COMMANDS if name != "doctor"] + [f"evaluate benchmark={name}" for name in BENCHMARKS]

READ_WITH = {("evaluate", "mask"): ["labels_dir=a"]}
"""What the settings of a group are read with."""


def command_named(words: str) -> Command:
    """Return a command, or the variant that `NAME choice=VALUE` names."""
    name, *arguments = words.split()
    command, rest = importlib.import_module(f"speechssl.cli.{name}").COMMAND.chosen(arguments)
    assert isinstance(command, Command) and not rest
    return command


def groups_of(command: Command) -> list[str]:
    config = compose_config(command, [])
    return [str(key) for key in config if (config_dir() / str(key)).is_dir()]


@pytest.mark.parametrize("name", CONFIGURED)
def test_every_option_of_every_group_composes(name: str) -> None:
    command = command_named(name)
    for group in groups_of(command):
        for option in group_options(compose_config(command, []), group):
            config = compose_config(command, [f"{group}={option}", *READ_WITH.get((name, group), [])])
            values = OmegaConf.load(config_dir() / group / f"{option}.yaml")
            for key, value in values.items():
                if key == "defaults":
                    continue
                found = OmegaConf.select(config, f"{group}.{key}")
                if not isinstance(value, DictConfig):
                    assert (found.name if isinstance(found, Enum) else found) == value


def test_every_option_is_for_some_command() -> None:
    fits = set()
    for name in CONFIGURED:
        config = compose_config(command_named(name), [])
        fits |= {(group, option) for group in groups_of(command_named(name)) for option in group_options(config, group)}
    assert fits == {(path.parent.name, path.stem) for path in config_dir().glob("*/*.yaml")}


@pytest.mark.parametrize(
    ("command", "setting", "known"),
    [
        ("pretrain", "model=audio_ntt", "base"),
        ("pretrain_clips", "objective=hubert", "decar"),
        ("distill", "model=tiny", "vit"),
    ],
)
def test_an_option_of_another_command_is_refused_by_name(command: str, setting: str, known: str) -> None:
    with pytest.raises(UserError, match=rf"{setting} is not for `speechssl {command}`; known here: .*{known}"):
        compose_config(command_named(command), [setting])


def test_no_configuration_file_is_left_over() -> None:
    used = {group for name in CONFIGURED for group in groups_of(command_named(name))}
    files = {path.relative_to(config_dir()).as_posix() for path in config_dir().rglob("*.yaml")}
    assert {file.split("/")[0] for file in files if "/" in file} == used
    assert {file for file in files if "/" not in file} == {
        f"{command_named(name).config_name}.yaml" for name in CONFIGURED
    }


def test_every_benchmark_is_looked_at() -> None:
    variants = importlib.import_module("speechssl.cli.evaluate").COMMAND.variants
    assert set(variants) == {"probes", *BENCHMARKS}


@pytest.mark.parametrize("name", CONFIGURED)
def test_every_setting_is_documented(name: str) -> None:
    waiting = [command_named(name).settings]
    while waiting:
        settings = waiting.pop()
        docs = field_docs(settings)
        types = typing.get_type_hints(settings)
        for setting in dataclasses.fields(settings):
            assert docs.get(setting.name), f"{settings.__name__}.{setting.name} has no docstring"
            if dataclasses.is_dataclass(types[setting.name]):
                waiting.append(typing.cast(type, types[setting.name]))


@pytest.mark.parametrize("name", CONFIGURED)
def test_every_example_composes(name: str) -> None:
    assert command_named(name).examples
    for example in command_named(name).examples:
        assert "-seed0" not in example, "the recipes count seeds from 1"
        words = [word for word in shlex.split(example) if word != "..."]
        compose_config(importlib.import_module(f"speechssl.cli.{name.split()[0]}").COMMAND, words)


# The rest is about a configuration of this test's own, so that it holds whatever the commands become.


@dataclass
class Inner:
    """A group."""

    width: int = 4
    """How wide."""
    name: str = "narrow"
    """What it is called."""


@dataclass
class Outer:
    """Settings of a command."""

    out: str = MISSING
    """Where to."""
    rate: float = 0.5
    """How fast."""
    body: Inner = field(default_factory=Inner)
    """The group."""
    paths: list[str] = field(default_factory=list)
    """Where from."""
    seed: int = 0
    """What is drawn."""

    def __post_init__(self) -> None:
        if self.rate > 1:
            raise UserError(f"rate={self.rate} must be at most 1")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    (tmp_path / "body").mkdir()
    (tmp_path / "body" / "narrow.yaml").write_text("width: 4\n")
    (tmp_path / "body" / "wide.yaml").write_text("width: 64\n")
    (tmp_path / "sample.yaml").write_text("defaults: [sample_schema, body: narrow, _self_]\n")
    monkeypatch.setattr(configuration, "config_dir", lambda: tmp_path)
    return Command("sample", "A sample.", Outer, lambda settings: None, ("out=x",))


@pytest.fixture
def with_variants(command: Command, tmp_path: Path) -> Command:
    (tmp_path / "other.yaml").write_text("defaults: [other_schema, _self_]\n")
    other = Command("sample", "Another.", Inner, lambda settings: None, (), config="other")
    return dataclasses.replace(command, choice="way", variants={"first": command, "other": other})


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["out=x"], Outer("x")),
        (["way=first", "out=x"], Outer("x")),
        (["width=5", "way=other"], Inner(5)),
    ],
)
def test_a_variant_has_settings_of_its_own(with_variants: Command, overrides: list[str], expected: object) -> None:
    assert load_settings(with_variants, overrides) == expected


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["way=othre"], "no way named 'othre'; did you mean 'other'? (known: first, other)"),
        (["wya=other", "out=x"], "unknown setting 'wya' of `speechssl sample`; did you mean 'way'?"),
        (["way=other", "widht=5"], "unknown setting 'widht' of `speechssl sample`; did you mean 'width'?"),
        (["way=other", "out=x"], "unknown setting 'out' of `speechssl sample`; it is one of way=first"),
        (["out=x", "width=5"], "unknown setting 'width' of `speechssl sample`; it is one of way=other"),
        (["way=other", "body=wide"], "unknown setting 'body' of `speechssl sample`; it is one of way=first"),
    ],
)
def test_a_mistake_in_a_variant_is_one_line_that_names_it(
    with_variants: Command, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        load_settings(with_variants, overrides)
    assert str(caught.value).startswith(message)


@dataclass
class Labelled:
    """Settings with a text that has the name of a group of other commands."""

    body: str = MISSING
    """No group here."""


def test_a_text_may_have_the_name_of_a_group_of_another_command(command: Command, tmp_path: Path) -> None:
    (tmp_path / "text.yaml").write_text("defaults: [text_schema, _self_]\n")
    text = Command("sample", "Texts.", Labelled, lambda settings: None, (), config="text")
    both = dataclasses.replace(command, choice="way", variants={"first": command, "text": text})
    for value in ("wide", "nothing of the group", "a=[b"):
        assert load_settings(both, ["way=text", f"body={value}"]) == Labelled(value)
    assert load_settings(both, ["out=x", "body=wide"]).body == Inner(64)
    assert group_options(compose_config(text, []), "body") == []
    with pytest.raises(UserError, match="missing setting body: give it as body=VALUE"):
        load_settings(both, ["way=text"])
    with pytest.raises(UserError, match="body is empty"):
        load_settings(both, ["way=text", "body="])
    with pytest.raises(UserError, match="unknown setting 'bdoy' of `speechssl sample`; did you mean 'body'"):
        load_settings(both, ["way=text", "body=wide", "bdoy=x"])


def test_overrides_become_a_typed_object(command: Command) -> None:
    settings = load_settings(command, ["out=x", "body=wide", "body.name=mine", "rate=1e-1"])
    assert settings == Outer("x", 0.1, Inner(64, "mine"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("raet=1", "unknown setting 'raet' of `speechssl sample`; did you mean 'rate'?"),
        ("body.widht=1", "unknown setting 'body.widht' of `speechssl sample`; did you mean 'body.width'?"),
        ("bdoy=wide", "unknown setting 'bdoy' of `speechssl sample`; did you mean 'body'?"),
        ("body=wdie", "no body named 'wdie'; did you mean 'wide'? (known: narrow, wide)"),
        ("rate=fast", "setting not accepted: Value 'fast' of type 'str' could not be converted to Float"),
        ("body.width=1.5", "setting not accepted: Value '1.5' of type 'float' could not be converted to Integer"),
        ("paths=a/b", "paths takes a list: paths=[a/b]"),
        ("rate=2", "rate=2.0 must be at most 1"),
        ("body.name=", "body.name is empty: give a value, or leave it out"),
        ("body={name: ''}", "body.name is empty"),
        ("out=' '", "out is empty"),
        ("hydra.run.dir=y", "hydra.run.dir is a setting of hydra itself, which speechssl does not read: leave it out"),
        ("+hydra/launcher=y", "+hydra/launcher is a setting of hydra itself"),
    ],
)
def test_a_wrong_override_is_one_line_that_names_it(command: Command, override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_settings(command, ["out=x", override])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_missing_setting_is_named(command: Command) -> None:
    with pytest.raises(UserError, match="missing setting out: give it as out=VALUE"):
        load_settings(command, [])


def test_a_word_that_is_no_override_is_one_line(command: Command) -> None:
    with pytest.raises(UserError, match="'out x' is not a setting: settings are given as key=value"):
        load_settings(command, ["out x"])


@pytest.mark.parametrize(
    "path", ["/home/My Recordings (2)", "a,b", "it's/[x", "back\\slash{", "end{\\", "quote\\'{", "{x", "plain"]
)
def test_a_path_with_odd_characters_is_taken_as_it_is(command: Command, path: str) -> None:
    assert load_settings(command, [f"out={path}"]).out == path


@pytest.mark.parametrize("text", ["1.10", "1_0", "1e3", "true", "007", "[a, b]", "{a: b}"])
def test_a_text_stays_as_it_was_written(command: Command, text: str) -> None:
    assert load_settings(command, [f"out={text}"]).out == text
    assert load_settings(command, ["out=x", f"body.name={text}"]).body.name == text


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("[data/\u00f6/train.tsv,b]", ["data/\u00f6/train.tsv", "b"]),
        ("[data/a (1)/x.tsv, data/a+b&c/y.tsv]", ["data/a (1)/x.tsv", "data/a+b&c/y.tsv"]),
        ("['data/a (1)/x.tsv','it\\'s']", ["data/a (1)/x.tsv", "it's"]),
        ("[]", []),
    ],
)
def test_paths_in_a_list_need_no_quotes(command: Command, given: str, read: list[str]) -> None:
    assert load_settings(command, ["out=x", f"paths={given}"]).paths == read


def test_paths_in_a_dictionary_need_no_quotes() -> None:
    command = importlib.import_module("speechssl.cli.evaluate").COMMAND
    given = "encoders={a: [junk/\u00e9nc, b], c: d (1)/e, f: plain}"
    config = compose_config(command, ["data_dir=d", "out_dir=o", given])
    assert config.encoders == {"a": ["junk/\u00e9nc", "b"], "c": "d (1)/e", "f": "plain"}


def test_the_home_folder_is_known_within_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell leaves `~` as it is there, and some do behind `=`, too."""
    monkeypatch.setenv("HOME", "/home/me")
    found = load_settings(
        importlib.import_module("speechssl.cli.manifest").COMMAND, ["corpus.audio_dir=~/a", "out=~/b"]
    )
    assert found.out == "/home/me/b" and found.corpus.audio_dir == "/home/me/a"
    label = importlib.import_module("speechssl.cli.label").COMMAND
    assert load_settings(label, ["manifests=[~/a.tsv,b]", "kmeans=k", "out=o"]).manifests == ["/home/me/a.tsv", "b"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("paths=[a/b(", "paths: the list cannot be read; put each text in it in double quotes"),
        ("out=a${b}", "setting not accepted: "),
        ("seed=-1", "seed=-1 must be 0 or more and at most 4294967295"),
    ],
)
def test_what_cannot_be_read_is_one_line(command: Command, override: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_settings(command, ["out=x", override])
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_docstrings_of_inherited_fields_are_found() -> None:
    @dataclass
    class Wider(Inner):
        """More."""

        depth: int = 1
        """How deep."""

    assert field_docs(Wider) == {"width": "How wide.", "name": "What it is called.", "depth": "How deep."}


def test_an_installed_package_carries_all_configuration_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "configs", "speechssl"):
        (source / name).symlink_to(ROOT / name)
    subprocess.run([*command, str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("speechssl/configs/")}
    expected = {f"speechssl/configs/{path.relative_to(ROOT / 'configs')}" for path in ROOT.glob("configs/**/*.yaml")}
    assert inside == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["optim.momentum=0.5"],
            "optim.momentum is given, and optim.kind=adamw does not read it: leave it out, or give optim.kind=sgd or "
            "optim.kind=muon",
        ),
        (["optim.kind=sgd", "optim.beta2=0.9"], "optim.kind=sgd does not read it"),
        (["optim={lr: 1e-3, momentum: 0.5}"], "optim.momentum is given, and optim.kind=adamw does not read it"),
        (["schedule.anneal=0.2"], "leave it out, or give schedule.kind=infinite"),
        (["model=tiny", "model.conv_norm=layer"], "model.front_end=fbank does not read it"),
        (["model=tiny", "model.normalize=true"], "model.front_end=fbank does not read it"),
        (["model=tiny", "model.fbank_conv_dim=64"], "leave it out, or give model.fbank_subsampling=conv"),
        (["model=base", "model.fbank_conv_dim=64"], "leave it out, or give model.front_end=fbank"),
        (["model=fast", "model.front_end=waveform", "model.fbank_conv_dim=64"], "or give model.front_end=fbank"),
        (["model=base", "model.fbank_high_hz=4000"], "leave it out, or give model.front_end=fbank"),
        (["++optim.momentum=0.5"], "optim.momentum is given"),
    ],
)
def test_a_setting_that_another_one_leaves_unread_is_refused(given: list[str], message: str) -> None:
    needed = ["data.train=a", "data.valid=b", "data.labels=[c]", "out=d", "schedule.steps=9"]
    with pytest.raises(UserError, match=re.escape(message)):
        load_settings(command_named("pretrain"), [*needed, *given])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["k=8", "candidates=[2,3]"], "candidates is given, and k=8 does not read it: leave it out, or give k=null"),
        (["clip_seconds=0.95", "max_seconds=5"], "leave it out, or give clip_seconds=null"),
    ],
)
def test_a_setting_that_a_number_leaves_unread_is_refused(given: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load_settings(command_named("cluster"), ["manifests=[a]", "encoder=b", "out=c", *given])


@pytest.mark.parametrize("given", ["valid_hours=3", "min_speakers=5", "seed=4"])
def test_how_recordings_are_held_out_is_not_read_where_none_are(given: str) -> None:
    needed = ["corpus=folder", "corpus.audio_dir=a", "out=b"]
    load_settings(command_named("manifest"), [*needed, given])
    message = f"{given.partition('=')[0]} is given, and valid_fraction=0.0 does not read it: leave it out"
    with pytest.raises(UserError, match=re.escape(message)):
        load_settings(command_named("manifest"), [*needed, given, "valid_fraction=0"])


@pytest.mark.parametrize("kind", ["sgd", "muon"])
def test_a_setting_that_is_read_may_be_given(kind: str) -> None:
    needed = ["data.train=a", "data.valid=b", "out=c", "column=d"]
    settings = load_settings(command_named("finetune"), [*needed, f"optim.kind={kind}", "optim.momentum=0.5"])
    assert settings.optim.momentum == 0.5


def test_names_in_a_dictionary_may_have_dots() -> None:
    needed = ["benchmark=hear", "task=a", "corpus_dir=b", "out_dir=c"]
    settings = load_settings(evaluate.COMMAND, [*needed, "encoders={ours: [d], ours.no.norm: e}"])
    assert settings.encoders == {"ours": ["d"], "ours.no.norm": "e"}
