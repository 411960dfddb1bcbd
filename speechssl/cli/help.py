"""The text of `speechssl COMMAND --help`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from enum import Enum

from omegaconf import DictConfig

from speechssl.cli import configuration
from speechssl.cli.command import Command


def command_help(whole: Command, arguments: Sequence[str] = ()) -> str:
    """Return usage, examples, groups, and every setting with its default and docstring.

    Of a command with variants, it is the help of the variant that the arguments choose.
    """
    command, _ = whole.chosen(arguments)
    config = configuration.compose_config(command, [])
    lines = [f"speechssl {command.name}: {command.summary}", "", "examples:"]
    lines += [f"  speechssl {command.name} {example}" for example in command.examples]
    if whole.variants:
        lines += ["", f"each {whole.choice} has settings of its own:"]
        lines += [f"  {whole.choice}={name} --help  {variant.summary}" for name, variant in whole.variants.items()]
    groups = {name: configuration.group_options(config, name) for name in map(str, config)}
    if any(groups.values()):
        lines += ["", "groups:"]
        lines += [f"  {group}={'|'.join(options)}" for group, options in groups.items() if options]
    lines += ["", "settings:", *_settings(command.settings, config, "")]
    return "\n".join(lines)


def _settings(settings: type, config: DictConfig, prefix: str) -> list[str]:
    lines: list[str] = []
    docs = configuration.field_docs(settings)
    types = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        name = f"{prefix}{field.name}"
        kind = types[field.name]
        if dataclasses.is_dataclass(kind):
            lines += _settings(typing.cast(type, kind), config[field.name], f"{name}.")
            continue
        node = config._get_node(field.name)
        missing = node is not None and node._is_missing()
        value = "(required)" if missing else config[field.name]
        lines.append(f"  {name}={value.name if isinstance(value, Enum) else value}")
        lines.append(f"      {docs.get(field.name, '')}")
    return lines
