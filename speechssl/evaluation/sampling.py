"""Random choices that depend on names and the seed only: not on file order, batches or other recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def generator_for(seed: int, *names: str) -> np.random.Generator:
    """Return a generator that belongs to these names."""
    return np.random.default_rng(_key(seed, names))


def sample(items: Iterable[Item], count: int, seed: int, name: Callable[[Item], str]) -> list[Item]:
    """Return `count` of the items (all if there are fewer), in an order that is random but fixed by their names."""
    return sorted(items, key=lambda item: (_key(seed, (name(item),)), name(item)))[:count]


def _key(seed: int, names: tuple[str, ...]) -> int:
    text = "\0".join((str(seed), *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
