"""What of a dataclass of settings was changed, against its defaults or an earlier run, and what of it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from speechssl.errors import UserError

_READ_WITH = "read_with"


def changed_fields(settings: Any) -> list[str]:
    """Return the names of the fields of a dataclass that do not have their default, in order."""
    return [field.name for field in dataclasses.fields(settings) if getattr(settings, field.name) != _default(field)]


def plain(settings: Any) -> dict[str, Any]:
    """Return a dataclass of settings as plain values, as they are when they have been written and read again."""
    result: dict[str, Any] = _plain_value(dataclasses.asdict(settings))
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


def require_read(settings: Any, given: Iterable[str]) -> None:
    """Raise a `UserError` where a setting that a user gave is not read, because of one beside it.

    Args:
        settings: a dataclass.
        given: names with dots; others than those of settings are passed over.
    """
    for setting in given:
        folder, _, name = setting.rpartition(".")
        holder = settings
        for part in folder.split(".") if folder else []:
            holder = getattr(holder, part, None)
        fields = dataclasses.fields(holder) if dataclasses.is_dataclass(holder) else ()
        for field in (field for field in fields if field.name == name and _READ_WITH in field.metadata):
            other, values = field.metadata[_READ_WITH]
            now, other_name = getattr(holder, other), f"{folder}.{other}" if folder else other
            if now not in values:
                wanted = " or ".join(f"{other_name}={_plain_value(value)}" for value in values)
                raise UserError(
                    f"{setting} is given, and {other_name}={_plain_value(now)} does not read it: "
                    f"leave it out, or give {wanted}"
                )


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _default_of(settings: Any, name: str) -> Any:
    """Return the default of a setting by its name with dots; None where a dictionary holds it."""
    first, *others = name.split(".")
    default = next((_default(field) for field in dataclasses.fields(settings) if field.name == first), None)
    for part in others:
        default = getattr(default, part, None)
    return _plain_value(default)


def _plain_value(item: Any) -> Any:
    if isinstance(item, Enum):
        return item.value
    if isinstance(item, dict):
        return {name: _plain_value(inner) for name, inner in item.items()}
    if isinstance(item, (list, tuple)):
        return [_plain_value(inner) for inner in item]
    return item


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, item in values.items():
        if isinstance(item, dict):
            flat.update(_flat(item, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = item
    return flat
