"""What processes that share a folder need of its file system: locks, and room that is taken beforehand."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import shutil
import weakref
from pathlib import Path

from speechssl.files import DISK_FULL

logger = logging.getLogger(__name__)

_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
"""Of a file system that cannot take room for a file beforehand."""


class Lock:
    """The lock of a file, held until it is released or forgotten, at last with the process.

    Where the file system has no locks, nobody is kept out.

    Args:
        file: that is made where it is missing. Between machines NFS keeps the lock of a file that is open for writing,
            and of nothing else.
        how: as `fcntl.flock` takes it; with `LOCK_NB` a `BlockingIOError` where another one holds it.
    """

    def __init__(self, file: Path, how: int = fcntl.LOCK_EX) -> None:
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:  # another user's, who shares the folder
            handle = os.open(file, os.O_RDONLY)
        self.release = weakref.finalize(self, os.close, handle)
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            raise
        except OSError as error:
            logger.info("the file system of %s has no locks: %s", file, error)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def is_locked(file: Path) -> bool:
    """Return whether somebody, maybe this process, holds the lock of a file."""
    if not file.is_file():
        return False
    try:
        with Lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True


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
