"""Progress of long stages: rate and time left on a terminal, quiet elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TextIO, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
PROGRESS_FD = "SPEECHSSL_PROGRESS_FD"
"""Environment variable: number of an open file that bars are written to. The recipes send standard error to a log, and
name the terminal here."""


def progress(items: Iterable[Item], description: str, unit: str, total: int | None = None) -> tqdm[Item]:
    """Wrap `items` in a progress bar that shows the rate and the time left.

    Args:
        items: what is gone through.
        description: what is being done, e.g. `"labelling train"`.
        unit: what an item is, e.g. `"utterance"`.
        total: number of items, where `items` has no length.

    The bar is written to standard error (or where `SPEECHSSL_PROGRESS_FD` says), and only when that is a terminal.
    """
    stream = progress_stream()
    return tqdm(items, desc=description, unit=f" {unit}", total=total, file=stream, disable=None, smoothing=0.1)


def progress_stream() -> TextIO:
    """Return where bars are written to, for a library that draws its own; show none where it is no terminal."""
    number = os.environ.get(PROGRESS_FD, "")
    if number.isdigit():
        try:
            return os.fdopen(int(number), "w", closefd=False)
        except OSError:  # not open in this process, e.g. below torchrun
            pass
    return sys.stderr
