"""The one error type for mistakes that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_FEW = 3


class UserError(Exception):
    """Something the user can mend.

    The message is one line: what is wrong, where, and what to do. The command line prints it without a
    traceback and exits with status 1.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'X'?"` for the closest known name, or `""` where nothing is close."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def few(items: Sequence[str]) -> str:
    """Return the first few items of a message, and how many more there are."""
    more = f" and {len(items) - _FEW} more" if len(items) > _FEW else ""
    return f"{'; '.join(items[:_FEW])}{more}"
