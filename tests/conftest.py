"""What tests of all rooms have in common."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest


@pytest.fixture
def other_device(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """A block in which commands run on a stand-in for a GPU: see `tests/other_device.py`."""
    from tests.other_device import other_device  # brings fairseq2, slow to import

    return partial(other_device, monkeypatch)
