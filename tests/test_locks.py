"""Files that keep other processes out."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from speechssl.errors import UserError
from speechssl.locks import Lock, alone, is_locked


def test_a_lock_keeps_others_out_until_its_holder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "new" / "lock"
    code = "import sys, time; from pathlib import Path; from speechssl.locks import alone\n"
    code += "with alone(Path(sys.argv[1]), 'busy'): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        for _ in range(2):
            with pytest.raises(UserError, match=r"^told$"), alone(lock, "told"):
                pass
        # Below torchrun the first process asks for all.
        monkeypatch.setenv("RANK", "1")
        with alone(lock, "told"):
            monkeypatch.delenv("RANK")
        holder.kill()
        holder.wait()
        with alone(lock, "told"):
            pass


def test_the_lock_of_another_user_keeps_out_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, opened = tmp_path / ".lock", os.open
    file.touch()

    def refused(path: Path, flags: int, *more: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "not ours")
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", refused)
    with Lock(file):
        assert is_locked(file)
    assert not is_locked(file)


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_nothing_can_be_written_into_is_told_at_once(tmp_path: Path, monkeypatch, there: bool) -> None:
    """Also where another user's lock is there already."""
    file = tmp_path / ".lock"
    if there:
        file.touch()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(PermissionError, match=str(tmp_path)), alone(file, "busy"):
        pass
    assert file.exists() is there


def test_a_lock_that_cannot_be_made_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, flags: int, *more: int) -> int:
        raise PermissionError(errno.EACCES, "not ours", str(path))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(PermissionError, match="not ours"):
        Lock(tmp_path / ".lock")
