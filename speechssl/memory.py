"""What the C library does with memory that is free again. C libraries other than glibc stay as they are."""

from __future__ import annotations

import ctypes

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> None:
    """Keep freed memory for the next tensors of this process; by default the system gets large blocks back at once.

    Then every batch has its pages mapped and cleared anew, which is a quarter or more of the time of a convolutional
    encoder on a processor (`tools/bench/clips.py`). It costs up to a fifth more memory.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)  # never


def hand_back_memory() -> None:
    """Give the pages of freed memory back to the system.

    glibc keeps what reader threads free, scattered among what is in use: more, the longer they run.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
