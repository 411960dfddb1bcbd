"""Progress bars: on a terminal only, and past a log where the recipes say so."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

SCRIPT = "from speechssl.progress import progress\nfor _ in progress(range(3), 'labelling', 'utterance'): pass"


def test_no_bar_where_standard_error_is_a_file() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_recipe_shows_the_bar_on_the_terminal_and_not_in_the_log(tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    environment = {**os.environ, "SPEECHSSL_PROGRESS_FD": str(end)}
    log = tmp_path / "log"
    with open(log, "w") as file:
        subprocess.run(
            [sys.executable, "-c", SCRIPT], stderr=file, stdout=file, env=environment, pass_fds=[end], check=True
        )
    shown = os.read(terminal, 10_000).decode()
    os.close(end)
    os.close(terminal)
    assert "labelling" in shown
    assert "3/3" in shown
    assert log.read_text() == ""


def test_a_closed_descriptor_is_no_error() -> None:
    environment = {**os.environ, "SPEECHSSL_PROGRESS_FD": "99"}
    subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, capture_output=True)
