"""Room on a disk that is taken beforehand."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import shutil
from pathlib import Path

from speechssl.files import DISK_FULL

logger = logging.getLogger(__name__)

_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""Of a file system that cannot take room for a file beforehand."""


def take_room(file: Path) -> bool:
    """Take the room that a file has only on paper: a disk that is full when it is written to kills the process.

    Returns:
        Whether the disk has so much.
    """
    size = file.stat().st_size
    # Looked at first: the system call fills a disk that is too small, and takes from all others what is left there.
    if shutil.disk_usage(file.parent).free < size:
        return False
    with open(file, "r+b") as stream:
        try:
            _allocate(stream.fileno(), size)
        except OSError as error:
            if error.errno in DISK_FULL:
                return False
            if error.errno not in _NOT_SUPPORTED:
                raise
    return True


def _allocate(handle: int, size: int) -> None:
    """Take room for the first `size` bytes of a file by the system call.

    `os.posix_fallocate` writes into every block where the file system has no such call: an hour for a large file.
    """
    allocate = ctypes.CDLL(None, use_errno=True).fallocate
    allocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    while allocate(handle, 0, 0, size):
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
