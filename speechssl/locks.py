"""Files that keep other processes out."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import weakref
from collections.abc import Iterator
from pathlib import Path

from speechssl.errors import UserError

logger = logging.getLogger(__name__)


class BusyError(UserError):
    """Another command is at work where this one would be."""


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
        except PermissionError:
            if not file.exists():
                raise
            handle = os.open(file, os.O_RDONLY)  # another user's, who shares the folder
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


@contextlib.contextmanager
def alone(file: Path, busy: str) -> Iterator[None]:
    """Keep other processes that ask for the same lock out, without waiting for it.

    Below torchrun the first process holds it for all.

    Args:
        file: of the lock; it is made, and stays.
        busy: what a process is told that comes second.

    Raises:
        BusyError: another process holds it.
        PermissionError: nothing can be written into its folder, which is told before any work is done.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(file.parent, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file.parent))
    try:
        lock = Lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(busy) from error
    with lock:
        yield
