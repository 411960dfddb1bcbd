"""Progress of long stages: rate and time left on a terminal, quiet elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], description: str, unit: str, total: int | None = None) -> tqdm[Item]:
    """Wrap `items` in a progress bar that shows the rate and the time left.

    Args:
        items: what is gone through.
        description: what is being done, e.g. `"labelling train"`.
        unit: what an item is, e.g. `"utterance"`.
        total: number of items, where `items` has no length.

    The bar is written to standard error, and only when that is a terminal.
    """
    return tqdm(items, desc=description, unit=f" {unit}", total=total, disable=None, smoothing=0.1)
