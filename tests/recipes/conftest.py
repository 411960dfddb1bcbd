"""A copy of the recipes in which `speechssl` only writes down how it was called."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted(path.parent.relative_to(ROOT / "recipes").as_posix() for path in (ROOT / "recipes").rglob("run.sh"))
MINI = "mini/hubertopic"
UNFUSED = "lape/unfused"
OBJECTIVES = "lape/objectives"

STAND_IN = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + chr(10))
print("output of", sys.argv[1])
if sys.argv[1] == os.environ.get("FAIL"):
    print(chr(10).join(f"line {{number}}" for number in range(50)))
    sys.exit("speechssl: it went wrong")
if sys.argv[1] == os.environ.get("KILL"):
    os.kill(os.getpid(), 15)
"""


class Checkout:
    """The copied project; `run` starts a recipe in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("tools", "recipes", "speechssl/cli"):
            shutil.copytree(ROOT / name, folder / name)
        (folder / "tools" / "setup.sh").write_text("echo setup: ready\n")
        (folder / ".venv" / "bin").mkdir(parents=True)
        for name in ("speechssl", "torchrun"):
            path = folder / ".venv" / "bin" / name
            path.write_text(STAND_IN)
            path.chmod(0o755)

    def run(
        self, recipe: str, *options: str, cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a recipe, or a script given by its path, and return what it printed."""
        (self.folder / "calls").unlink(missing_ok=True)
        script = self.folder / recipe if recipe.endswith(".sh") else self.folder / "recipes" / recipe / "run.sh"
        return subprocess.run(
            ["bash", str(script), *options],
            cwd=cwd or self.folder,
            env={**os.environ, "CALLS": str(self.folder / "calls"), **environment},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    @property
    def calls(self) -> list[list[str]]:
        """What `speechssl` and `torchrun` were called with, in order, in the last run."""
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def commands(self) -> list[str]:
        """Names of the commands, in order."""
        return [call[1] for call in self.calls]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "project")


def script(recipe: str) -> str:
    return (ROOT / "recipes" / recipe / "run.sh").read_text()


def command_named(name: str) -> Any:
    return importlib.import_module(f"speechssl.cli.{name}").COMMAND


def words_of(calls: list[list[str]], command: str) -> list[str]:
    """Return the words of the only call of a command."""
    (call,) = [call for call in calls if call[1] == command]
    return call[2:]
