"""What of a dataclass of settings was changed: a setting that nothing reads is refused, not ignored."""

from __future__ import annotations

import dataclasses
from typing import Any


def changed_fields(settings: Any) -> list[str]:
    """Return the names of the fields of a dataclass that do not have their default, in order."""
    return [field.name for field in dataclasses.fields(settings) if getattr(settings, field.name) != _default(field)]


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
