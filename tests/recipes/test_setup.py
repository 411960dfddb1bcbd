"""`tools/setup.sh` where it cannot go on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_without_a_usable_python_it_says_so_and_keeps_what_is_there(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copy(ROOT / "setup.py", tmp_path)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "kept").touch()
    done = subprocess.run(
        ["bash", str(tmp_path / "tools" / "setup.sh"), "--python", "python9"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("setup: no Python 3.10 to 3.12 with venv was found at python9; install one")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / ".venv" / "kept").exists()
