"""Memory of long runs."""

from __future__ import annotations

import ctypes


def hand_back_memory() -> None:
    """Give the pages of freed memory back to the system.

    glibc keeps what the reader threads free, scattered among what is in use: more, the longer they run. With other C
    libraries nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
