"""Files that appear whole or not at all, and their checksums."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from speechssl.errors import UserError

logger = logging.getLogger(__name__)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""No room on the disk, or in the user's share of it."""
_UMASK = threading.Lock()
_NO_ROOM = 1 << 16
"""A write that fails with fewer bytes free than this failed for lack of room."""


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block ends without an error.

    A process killed inside the block leaves `path` as it was. Parent folders are made.

    Raises:
        OSError: the disk is full, with `errno` and `filename`, whatever the library that wrote said of it: torch,
            safetensors and numpy each have errors of their own.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner can read; results are shared like any other file.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except Exception as error:
        if not _lacks_room(error, path.parent):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def move_folder(made: Path, target: Path) -> None:
    """Move a folder that is whole to its place; one that another command has put there meanwhile stays."""
    try:
        made.replace(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not target.is_dir():
            raise


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or broken one is a :class:`UserError`."""
    try:
        return json.loads(require_file(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); make it again") from error


@contextlib.contextmanager
def require_utf8(path: str | Path) -> Iterator[None]:
    """Raise a :class:`UserError` that names `path` if what the block reads of it is not UTF-8, or no table of cells."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}); convert it") from error
    except csv.Error as error:
        raise UserError(f"{path} is not a table of cells ({error}); make it again") from error


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a text file; a missing one, or one that is not UTF-8, is a :class:`UserError`."""
    with require_utf8(path):
        return require_file(path).read_text(encoding="utf-8-sig").splitlines()


def require_file(path: str | Path, made_by: str = "") -> Path:
    """Return `path` if it is a file, else raise a :class:`UserError` that says which command makes it."""
    path = Path(path)
    if not path.is_file():
        hint = f"; run `{made_by}` first" if made_by else ""
        raise UserError(f"{path} does not exist{hint}")
    return path


def as_name(text: str) -> str:
    """Return the text as a part of the name of one file or folder."""
    return re.sub(r"[^\w.-]+", "_", text)


def checksum(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def checksum_of(value: Any) -> str:
    """Return the SHA-256 of a value that can be written as JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def changes(paths: Iterable[str | Path]) -> str:
    """Return a checksum of names, sizes and times of change, for files that would take long to read; in any order."""
    digest = hashlib.sha256()
    for path in sorted(map(str, paths)):
        try:
            stat = os.stat(path)
        except OSError:
            stat = None
        digest.update(json.dumps([path, stat and [stat.st_size, stat.st_mtime_ns]]).encode())
    return digest.hexdigest()


def _lacks_room(error: Exception, folder: Path) -> bool:
    if isinstance(error, UserError):
        return False
    # safetensors is written in Rust, whose errors carry the number in their text.
    told = [getattr(error, "errno", None), *map(int, re.findall(r"\(os error (\d+)\)", str(error)))]
    space = os.statvfs(folder)
    return any(number in DISK_FULL for number in told) or space.f_bavail * space.f_frsize < _NO_ROOM


def _umask() -> int:
    """Return the process's, which can only be read by setting it: one thread at a time."""
    with _UMASK:
        mask = os.umask(0)
        os.umask(mask)
    return mask
