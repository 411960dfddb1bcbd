"""Hydra configuration: compose, check against the dataclass, explain what is wrong."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
import re
import textwrap
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import AnyNode, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from speechssl.cli.command import Command
from speechssl.errors import UserError, nearest
from speechssl.limits import LARGEST_SEED, require
from speechssl.settings import plain_value, unread


def config_dir() -> Path:
    """Return the folder of the hydra groups: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise UserError("the configs folder is missing from this installation; install speechssl again")


def load_settings(command: Command, overrides: list[str]) -> Any:
    """Compose the command's configuration with `overrides` and return its typed settings object."""
    config = compose_config(command, overrides)
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise UserError(f"missing setting {', '.join(missing)}: give it as {missing[0]}=VALUE")
        require({"seed": config.get("seed")}, least=0, most=LARGEST_SEED)
        _expand_home(config)
        return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise UserError(
            f"setting not accepted: {' '.join(str(error).split())}; a dollar sign is written \\$"
        ) from error


def _expand_home(config: DictConfig | ListConfig) -> None:
    """Put the home folder in the place of a `~` that begins a setting: the shell leaves it in lists and quotes."""
    items: Iterable[tuple[Any, Any]] = enumerate(config) if isinstance(config, ListConfig) else config.items()
    for name, value in items:
        if isinstance(value, str) and value.startswith("~/"):
            config[name] = os.path.expanduser(value)
        elif isinstance(value, DictConfig | ListConfig):
            _expand_home(value)


def compose_config(whole: Command, overrides: list[str]) -> DictConfig:
    """Return the composed configuration; an unknown name is a `UserError` that offers the nearest known one.

    A setting that is given and empty, or not read because of another one, is a `UserError`; those of a preset are
    passed over.

    Of a command with variants, it is that of the variant which `overrides` choose.
    """
    command, overrides = whole.chosen(overrides)
    ConfigStore.instance().store(name=f"{command.config_name}_schema", node=command.settings)
    GlobalHydra.instance().clear()
    texts = [override for override in overrides if _sets_text(command, override)]
    overrides = [_readable(command, override) for override in overrides if override not in texts]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        try:
            config = compose(command.config_name, overrides)
        except MissingConfigException as error:
            raise _unknown_option(command, error) from error
        except (ConfigCompositionException, HydraException, OmegaConfBaseException) as error:
            raise _unknown_key(command, overrides, error, whole) from error
    for key, _, value in (text.partition("=") for text in texts):
        config[key] = value
        _require_filled(key, value)
    for override in overrides:
        given = OverridesParser.create().parse_override(override)
        for setting, value in _settings_in(config, given.key_or_group, given.value()):
            _require_filled(setting, value)
            _require_read(config, setting)
    return config


def _settings_in(config: DictConfig, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the settings that an override gives, with their values: of a dictionary of settings, each in it."""
    if not isinstance(value, dict) or not dataclasses.is_dataclass(OmegaConf.get_type(OmegaConf.select(config, name))):
        yield name, value
        return
    for key, inner in value.items():
        yield from _settings_in(config, f"{name}.{key}", inner)


def _require_filled(setting: str, value: Any) -> None:
    """Raise a `UserError` for an empty text, as of a variable of the shell that is not set: it would say nothing."""
    if isinstance(value, str) and not value.strip():
        raise UserError(f"{setting} is empty: give a value, or leave it out")


def _require_read(config: DictConfig, setting: str) -> None:
    """Raise a `UserError` where a setting that was given, or what it is in, is not read because of one beside it."""
    names = setting.split(".")
    for depth, name in enumerate(names):
        folder = ".".join(names[:depth])
        holder = OmegaConf.select(config, folder) if folder else config
        settings = OmegaConf.get_type(holder)
        if not dataclasses.is_dataclass(settings):
            return
        if found := unread(settings, holder, name):
            other, wanted = found
            full = f"{folder}.{other}" if folder else other
            instead = " or ".join(f"{full}={_as_given(value)}" for value in wanted) or f"{full} another value"
            raise UserError(
                f"{setting} is given, and {full}={_as_given(holder[other])} does not read it: "
                f"leave it out, or give {instead}"
            )


def _as_given(value: Any) -> str:
    """Return a value as it is written on the command line."""
    words = {None: "null", True: "true", False: "false"}
    plain = plain_value(value)
    return words[plain] if plain is None or isinstance(plain, bool) else str(plain)


def _sets_text(command: Command, override: str) -> bool:
    """Return whether an override sets a text that has the name of a group: hydra would look for an option of it."""
    key = override.partition("=")[0]
    return typing.get_type_hints(command.settings).get(key) is str and (config_dir() / key).is_dir()


def _type_of(settings: Any, key: str) -> Any:
    """Return the type of a setting by its name with dots, of an optional one without `None`; None if it is unknown."""
    for part in key.split("."):
        if not dataclasses.is_dataclass(settings):
            return None
        settings = typing.get_type_hints(settings).get(part)
        kinds = [kind for kind in typing.get_args(settings) if kind is not type(None)]
        if len(kinds) == 1 and type(None) in typing.get_args(settings):
            (settings,) = kinds
    return settings


def _readable(command: Command, override: str) -> str:
    """Quote what hydra's grammar would read otherwise than the user means it.

    That is a text that looks like a number (`out=1.10`), and a path with characters that the grammar does not have,
    alone, in a list or in a dictionary.
    """
    key, equals, value = override.partition("=")
    if not equals and not key.startswith("~"):
        raise UserError(f"'{override}' is not a setting: settings are given as key=value")
    if re.match(r"[+~]*hydra(\W|$)", key):
        raise UserError(f"{key} is a setting of hydra itself, which speechssl does not read: leave it out")
    parsed = _parsed(override)
    if parsed is not None:
        is_text = _type_of(command.settings, key.lstrip("+")) is str
        if not is_text or value == "null" or isinstance(parsed.value(), str):
            return override
    elif value[:1] in ("[", "{"):
        quoted = f"{key}={re.sub(_ELEMENT, _quoted_element, value)}"
        if _parsed(quoted) is not None:
            return quoted
    return f"{key}={_quoted(value)}"


_ELEMENT = re.compile(r"((?:^|(?<=[][{},]))\s*(?:[\w.-]+:\s+)?)([^][{},\s](?:[^][{},]*[^][{},\s])?)")
"""A text between brackets and commas, and before it the blanks and the key that it has in a dictionary."""


def _quoted_element(found: re.Match[str]) -> str:
    """Quote an element of a list or dictionary that hydra's grammar cannot read."""
    before, text = found.groups()
    return found[0] if _parsed(f"x={text}") is not None else f"{before}{_quoted(text)}"


def _quoted(text: str) -> str:
    """Return a text in hydra's quotes, in which a backslash is one, except before a quote."""
    inner = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), text)
    return f"'{inner}'"


def _parsed(override: str) -> Override | None:
    """Return what hydra reads; None where it cannot, or would run a sweep."""
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return None
    return None if parsed.is_sweep_override() else parsed


def group_options(config: DictConfig, group: str) -> list[str]:
    """Return the options of a group that fit a command's settings; groups are shared by commands.

    Args:
        config: the command's composed configuration.
        group: name of a setting that has a folder of options.
    """
    files = sorted((config_dir() / group).glob("*.yaml"))
    settings = None if OmegaConf.is_missing(config, group) else config[group]
    return [file.stem for file in files if _fits(OmegaConf.load(file), settings)]


def _fits(option: Any, settings: Any) -> bool:
    """Return whether all that an option sets is there to be set."""
    if not isinstance(option, DictConfig) or isinstance(settings, AnyNode):
        return True
    # `in` says no to a key whose value is missing.
    known = list(settings) if isinstance(settings, DictConfig) else []
    keys = [key for key in option if key != "defaults"]  # hydra's own: other options that it is made of
    return all(key in known and _fits(option._get_node(key), settings._get_node(key)) for key in keys)


def field_docs(settings: type) -> dict[str, str]:
    """Return the docstring of each field of a dataclass, base classes included."""
    docs: dict[str, str] = {}
    for parent in reversed(settings.__mro__[:-1]):
        if not dataclasses.is_dataclass(parent):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(parent))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, following in zip(body.body, body.body[1:], strict=False):
            if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                docs[statement.target.id] = " ".join(str(following.value.value).split())
    return docs


def _unknown_option(command: Command, error: MissingConfigException) -> UserError:
    """A group has no such option, e.g. `model=bse`."""
    missing = error.missing_cfg_file or ""
    group, _, option = str(missing).rpartition("/")
    config = compose(command.config_name)
    options = group_options(config, group) if group in config else []
    return UserError(
        f"no {group or 'configuration'} named '{option}'{nearest(option, options)} (known: {', '.join(options)})"
    )


def _unknown_key(command: Command, overrides: list[str], error: Exception, whole: Command) -> UserError:
    """A key or a value does not fit the settings."""
    config = compose(command.config_name)
    known = _nodes(config)
    for override in overrides:
        key, _, option = override.partition("=")
        key = key.lstrip("+~")
        if key in config and (config_dir() / key / f"{option}.yaml").is_file():
            fit = group_options(config, key)
            if option not in fit:
                return UserError(f"{key}={option} is not for `speechssl {command.name}`; known here: {', '.join(fit)}")
            known |= _nodes(compose(command.config_name, [override]))
        if key not in known:
            hint = _owner(key, whole) or nearest(key, [*known, whole.choice])
            return UserError(f"unknown setting '{key}' of `speechssl {command.name}`{hint}")
        if isinstance(known[key], ListConfig) and option.startswith("'["):
            return UserError(f"{key}: the list cannot be read; put each text in it in double quotes")
        if isinstance(known[key], ListConfig) and not option.startswith("["):
            return UserError(f"{key} takes a list: {key}=[{option}]")
    causes = [str(error), str(error.__cause__ or "")]
    detail = re.sub(r"\s+", " ", next(text for text in reversed(causes) if text)).strip()
    return UserError(f"setting not accepted: {detail}")


def _owner(key: str, whole: Command) -> str:
    """Return which variant has a setting, or nothing."""
    top = key.split(".")[0]
    for name, variant in whole.variants.items():
        if top in {field.name for field in dataclasses.fields(variant.settings)}:
            return f"; it is one of {whole.choice}={name}"
    return ""


def _nodes(config: DictConfig, prefix: str = "") -> dict[str, Any]:
    """Return every setting's node by its name, e.g. `data.labels`."""
    nodes: dict[str, Any] = {}
    for key in config:
        name = f"{prefix}{key!s}"
        node = nodes[name] = config._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            nodes |= _nodes(node, f"{name}.")
    return nodes
