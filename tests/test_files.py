"""Files appear whole or not at all; their checksums."""

from __future__ import annotations

import csv
import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from speechssl.errors import UserError, nearest
from speechssl.files import (
    as_name,
    checksum,
    move_folder,
    read_json,
    read_lines,
    require_file,
    require_utf8,
    whole_file,
    write_json,
    write_text,
)


def test_a_new_file_has_its_text_and_the_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    write_text(path, "größe\n")
    (tmp_path / "plain").touch()
    assert path.read_bytes() == b"gr\xc3\xb6\xc3\x9fe\n"
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    assert os.listdir(path.parent) == ["file.txt"]


def test_an_error_inside_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(ValueError, match="stop"), whole_file(path) as temporary:
        temporary.write_text("half")
        raise ValueError("stop")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_process_killed_inside_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    script = (
        "import os, signal, sys\nfrom speechssl.files import whole_file\n"
        "with whole_file(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def write_torch(path: Path) -> None:
    torch.save({"weight": torch.zeros(20_000)}, path)


def write_numpy(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.zeros(20_000))


def write_safetensors(path: Path) -> None:
    # It renames a file of its own into place, so that /dev/full is no stand-in; these are its words on a full disk.
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("write", [write_torch, write_numpy, write_safetensors])
def test_a_full_disk_is_told_alike_whatever_library_writes(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = os.statvfs(tmp_path)
    if write is write_torch:  # its error names no reason
        full = os.statvfs_result([*room[:3], 0, 0, *room[5:]])
        monkeypatch.setattr(os, "statvfs", lambda folder: full)
    path = tmp_path / "weights"
    path.write_text("old")
    with pytest.raises(OSError) as caught, whole_file(path) as temporary:
        temporary.unlink()
        temporary.symlink_to("/dev/full")
        write(temporary)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["weights"]


def test_json_comes_back_as_it_was(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": "é"}
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value


def test_broken_or_missing_json_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"half\.json is not valid JSON"):
        read_json(tmp_path / "half.json")
    (tmp_path / "latin.json").write_bytes('"é"'.encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.json is not valid JSON"):
        read_json(tmp_path / "latin.json")
    with pytest.raises(UserError, match=r"none\.json does not exist"):
        read_json(tmp_path / "none.json")


def test_a_missing_file_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run `speechssl manifest` first"):
        require_file(tmp_path / "train.tsv", made_by="speechssl manifest")


def test_lines_are_utf8_or_one_clear_line_says_so(tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("m\u00fcde\r\nzwei\n", encoding="utf-8-sig", newline="")
    assert read_lines(file) == ["m\u00fcde", "zwei"]
    file.write_text("m\u00fcde\n", encoding="latin-1")
    with pytest.raises(UserError, match=rf"^{file} is not UTF-8 text"):
        read_lines(file)
    with pytest.raises(UserError, match="does not exist"):
        read_lines(tmp_path / "none.txt")


def test_a_table_that_csv_cannot_read_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("id,path\n1," + "x" * 200_000 + "\n")
    with pytest.raises(UserError, match=rf"^{file} is not a table of cells \(field larger"):  # noqa: SIM117
        with open(file, newline="") as stream, require_utf8(file):
            list(csv.reader(stream))


def test_checksum_agrees_with_sha256sum(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(3_000_001))
    told = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert checksum(path) == told


@pytest.mark.parametrize(("typed", "hint"), [("pretain", "; did you mean 'pretrain'?"), ("zzz", "")])
def test_the_nearest_name_is_offered_only_where_one_is_near(typed: str, hint: str) -> None:
    assert nearest(typed, ["pretrain", "report"]) == hint


def test_a_name_is_one_part_of_a_path():
    assert as_name("HuBERT Base/2, größer") == "HuBERT_Base_2_größer" and as_name("a-1.2_b") == "a-1.2_b"


def test_a_folder_that_cannot_be_moved_is_an_error_where_there_is_none(tmp_path: Path) -> None:
    made, target = tmp_path / "made", tmp_path / "target"
    made.mkdir()
    with pytest.raises(FileNotFoundError):
        move_folder(made, tmp_path / "gone" / "target")
    target.touch()
    with pytest.raises(NotADirectoryError):
        move_folder(made, target)
