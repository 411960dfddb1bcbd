"""Room on a disk that is taken before a file is written."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from speechssl.evaluation.superb import disk


def test_a_file_has_its_room_before_it_is_written(tmp_path):
    file = tmp_path / "file"
    with open(file, "wb") as stream:
        stream.truncate(1 << 24)
    assert file.stat().st_blocks == 0
    assert disk.take_room(file)
    assert file.stat().st_blocks * 512 >= 1 << 24 == file.stat().st_size


def test_no_block_is_written_where_room_cannot_be_taken():
    """glibc's posix_fallocate writes there instead; /proc is such a file system."""
    with open("/proc/self/comm", "r+b") as stream, pytest.raises(OSError, match="not supported"):
        disk._allocate(stream.fileno(), 1 << 20)


def test_a_disk_that_is_too_small_is_not_filled(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"0" * 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=99))
    monkeypatch.setattr(disk, "_allocate", lambda *given: pytest.fail("took what is left"))
    assert not disk.take_room(file)
