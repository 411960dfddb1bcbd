"""The rooms import one another in one direction only, and the documentation names every room."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = sorted(path.parent.name for path in (ROOT / "speechssl").glob("*/__init__.py"))


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the package and its contracts, to break."""
    shutil.copytree(ROOT / "speechssl", tmp_path / "speechssl", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_point_one_way() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("room", "line", "broken"),
    [
        ("audio", "import speechssl.data.manifest", "audio is not allowed to import speechssl.data"),
        ("models", "from speechssl.training import pretrain", "models is not allowed to import speechssl.training"),
        ("topics", "import speechssl.units.label", "topics is not allowed to import speechssl.units"),
        ("report", "import speechssl.cli.app", "report is not allowed to import speechssl.cli"),
        ("evaluation", "import fairseq2", "evaluation is not allowed to import fairseq2"),
    ],
)
def test_a_wrong_import_is_found(checkout: Path, room: str, line: str, broken: str) -> None:
    (checkout / "speechssl" / room / "wrong.py").write_text(f'"""Wrong."""\n\n{line}\n')
    done = lint_imports(checkout)
    assert done.returncode != 0
    assert broken in done.stdout


def test_every_room_is_in_a_contract() -> None:
    contracts = (ROOT / "pyproject.toml").read_text()
    layers = set(re.findall(r"speechssl\.(\w+)", contracts.split("layers = [")[1].split("]")[0]))
    assert layers == set(ROOMS)


def test_the_documentation_names_every_room() -> None:
    table = (ROOT / "docs" / "architecture.md").read_text().split("## Rooms")[1].split("\n## ")[0]
    named = re.findall(r"^\| `(\w+)/` \|", table, flags=re.MULTILINE)
    assert sorted(named) == ROOMS
