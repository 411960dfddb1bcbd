"""What of a dataclass of settings was changed, against its defaults or an earlier run, and what of it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

IN_NO_RESULT = frozenset({"workers", "threads", "cache_dir", "cache_gb"})
"""Settings of commands that change how long the work takes, and none of its results."""
_READ_WITH = "read_with"


def changed_fields(settings: Any) -> list[str]:
    """Return the names of the fields of a dataclass that do not have their default, in order."""
    return [field.name for field in dataclasses.fields(settings) if getattr(settings, field.name) != _default(field)]


def plain(settings: Any) -> dict[str, Any]:
    """Return a dataclass of settings as plain values, as they are when they have been written and read again."""
    result: dict[str, Any] = plain_value(dataclasses.asdict(settings))
    return result


def differences(settings: Any, earlier: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield each setting that an earlier run had otherwise: its name with dots, the value then and the value now.

    A setting that the earlier version did not know had its default.

    Args:
        settings: a dataclass.
        earlier: what :func:`plain` gave then.
    """
    then, now = _flat(earlier), _flat(plain(settings))
    for name in sorted(then.keys() | now.keys()):
        before = then[name] if name in then else _default_of(settings, name)
        if before != now.get(name):
            yield name, before, now.get(name)


def read_with(name: str, *values: Any) -> dict[str, Any]:
    """Return the `metadata` of a field that is read where the field `name` beside it has one of `values` only."""
    return {_READ_WITH: (name, values)}


def read_where_set(name: str) -> dict[str, Any]:
    """Return the `metadata` of a field that is read where the field `name` beside it is not null, 0, false or empty."""
    return {_READ_WITH: (name, ())}


def unread(holder: type, values: Mapping[str, Any], name: str) -> tuple[str, tuple[Any, ...]] | None:
    """Return the setting that leaves another one unread, and the values with which it would be read; None if it is.

    Where that setting is unread itself, it is the one that leaves it so. No values stand for any but null, 0 and so on.

    Args:
        holder: a dataclass of settings.
        values: of its settings.
        name: of one of them.
    """
    metadata = {field.name: field.metadata for field in dataclasses.fields(holder)}
    if _READ_WITH not in metadata.get(name, {}):
        return None
    other, wanted = metadata[name][_READ_WITH]
    reads = values[other] in wanted if wanted else bool(values[other])
    return unread(holder, values, other) or (None if reads else (other, wanted))


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _default_of(settings: Any, name: str) -> Any:
    """Return the default of a setting by its name with dots; None where a dictionary holds it."""
    first, *others = name.split(".")
    default = next((_default(field) for field in dataclasses.fields(settings) if field.name == first), None)
    for part in others:
        default = getattr(default, part, None)
    return plain_value(default)


def plain_value(item: Any) -> Any:
    """Return one setting as a plain value: of an enum its value."""
    if isinstance(item, Enum):
        return item.value
    if isinstance(item, dict):
        return {name: plain_value(inner) for name, inner in item.items()}
    if isinstance(item, (list, tuple)):
        return [plain_value(inner) for inner in item]
    return item


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in values.items():
        if isinstance(item, dict):
            flat.update(_flat(item, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = item
    return flat
