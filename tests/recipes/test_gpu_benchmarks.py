"""`tools/bench/gpu.sh`, which has no GPU here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools/bench/gpu.sh"
MEASURED = [line.split() for line in re.findall(r"^bench (.+)$", SCRIPT.read_text(), re.MULTILINE)]


def run(out: Path, python: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": str(python)}
    return subprocess.run(["bash", str(SCRIPT), str(out)], capture_output=True, text=True, check=False, env=environment)


def interpreter(file: Path, script: str) -> Path:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path: Path) -> None:
    done = run(tmp_path / "out", interpreter(tmp_path / "python", "exit 1"))
    assert done.returncode == 1
    assert done.stderr.startswith("gpu.sh: torch sees no GPU here") and not (tmp_path / "out").exists()


def test_what_fails_is_listed_and_the_others_go_on(tmp_path: Path) -> None:
    script = 'case "$*" in *kmeans*) echo broken; exit 3 ;; *) echo "ran $*" ;; esac'
    done = run(tmp_path / "out", interpreter(tmp_path / "python", script))
    assert done.returncode == 1
    listed = [line for line in done.stdout.splitlines() if line.startswith("failed: ")]
    assert f"failed: kmeans (exit status 3, {tmp_path}/out/kmeans.log)" in listed
    assert {line.split()[1] for line in listed} <= {"kmeans", "gpu"}, "this machine may have no nvidia-smi"
    for name, *_ in MEASURED:
        expected = "broken" if name == "kmeans" else "ran tools/bench/"
        assert (tmp_path / "out" / f"{name}.log").read_text().startswith(expected)


@pytest.mark.parametrize("words", MEASURED, ids=lambda words: words[0])
def test_benchmarks_and_their_options_exist(words: list[str]) -> None:
    source = (ROOT / "tools/bench" / f"{words[2]}.py").read_text()
    options = [word for word in words[3:] if word.startswith("--")]
    assert all(f'add_argument("{option}"' in source for option in options)


def test_it_takes_nine_minutes_at_most() -> None:
    seconds = [int(text) for text in re.findall(r"^(?:bench|measure) \S+ (\d+)", SCRIPT.read_text(), re.MULTILINE)]
    assert len(seconds) == len(MEASURED) + 2 and sum(seconds) <= 9 * 60
