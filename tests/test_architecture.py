"""The rooms import one another in one direction only, and the documentation names every room."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from speechssl.models.encoder import EncoderOutput

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


def imported_rooms() -> dict[str, set[str]]:
    """Return for each room those that it imports directly."""
    graph = grimp.build_graph("speechssl")
    rooms: dict[str, set[str]] = {room: set() for room in ROOMS}
    for room in ROOMS:
        for module in {f"speechssl.{room}", *graph.find_descendants(f"speechssl.{room}")}:
            names = [name.split(".")[1:2] for name in graph.find_modules_directly_imported_by(module)]
            rooms[room] |= {name for [name] in filter(None, names) if name in rooms and name != room}
    return rooms


def reachable(room: str, rooms: dict[str, set[str]]) -> set[str]:
    """Return the rooms that a room imports directly or by way of others."""
    return rooms[room].union(*(reachable(other, rooms) for other in rooms[room]))


def test_the_picture_of_the_rooms_is_the_code() -> None:
    rooms = imported_rooms()
    needed = {
        (room, other)
        for room, others in rooms.items()
        for other in others
        if not any(other in reachable(between, rooms) for between in others)
    }
    (picture,) = re.findall(r"flowchart TD\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text(), re.DOTALL)
    drawn = set()
    for line in picture.strip().splitlines():
        left, right = (side.split("&") for side in line.split("-->"))
        drawn |= {(room.strip(), other.strip()) for room in left for other in right}
    assert drawn == needed


def test_the_documentation_names_every_shared_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = {path.name for path in (ROOT / "speechssl").glob("*.py")}
    assert modules == set(re.findall(r"^\| `(\w+\.py)` \|", text, flags=re.MULTILINE))


def test_the_documentation_names_what_an_encoder_returns() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text().split("class EncoderOutput")[1].split("```")[0]
    assert list(EncoderOutput._fields) == re.findall(r"^    (\w+):", text, flags=re.MULTILINE)
