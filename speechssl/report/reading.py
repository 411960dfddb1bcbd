"""Reading of files that may be there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechssl.errors import UserError
from speechssl.files import read_json

JsonObject = dict[str, Any]
LAYER_WEIGHTS = "layer_weights.png"
"""Figure of a benchmark, of all tasks."""
_TASKS = "*/results.json"


def read_object(path: Path) -> JsonObject:
    """Return the content of a JSON file.

    Raises:
        UserError: it is not there, broken, or holds something else than an object.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object; make it again")
    return value


def object_if_there(path: Path) -> JsonObject:
    """Return the content of a JSON file; nothing where there is none."""
    return read_object(path) if path.is_file() else {}


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the files below a folder that match a pattern, in a fixed order."""
    return sorted(path for path in folder.glob(pattern) if path.is_file() and is_whole(path))


def is_whole(path: Path) -> bool:
    """Tell a result from what a killed process had begun to write beside it (see `speechssl.files.whole_file`)."""
    return not path.name.startswith(".")


@dataclass(frozen=True)
class BenchmarkFolder:
    """The results of all tasks of one benchmark."""

    path: Path = Path()
    tasks: list[JsonObject] = field(default_factory=list)
    """Content of the `results.json` of each task."""
    overview: JsonObject = field(default_factory=dict)
    """Content of the `results.json` of all tasks."""


def benchmark_folder(exp: Path, name: str) -> Path:
    """Return the experiment folder itself where it has the table of all tasks of the benchmark."""
    return exp if object_if_there(exp / "results.json").get("benchmark") == name else exp / name


def benchmark_files(exp: Path, name: str) -> list[Path]:
    """Return the files that the page shows of a benchmark."""
    folder = benchmark_folder(exp, name)
    return [path for pattern in ("results.json", _TASKS, LAYER_WEIGHTS) for path in matching(folder, pattern)]


def read_benchmark(exp: Path, name: str) -> BenchmarkFolder:
    """Return the results of a benchmark: those in a folder of its name, or in the experiment folder itself."""
    folder = benchmark_folder(exp, name)
    overview = object_if_there(folder / "results.json")
    results = [read_object(file) for file in current_results(folder, matching(folder, _TASKS))]
    tasks = [each for each in results if each.get("benchmark") == name]
    return BenchmarkFolder(folder, tasks, overview if tasks else {})


def current_results(folder: Path, files: Iterable[Path]) -> list[Path]:
    """Return the results of tasks below a folder but for those whose task has failed since."""
    failed = object_if_there(folder / "results.json").get("failed", [])
    return [file for file in files if file.parent.relative_to(folder).as_posix() not in failed]


def is_number(value: Any) -> bool:
    """Tell whether a value read from JSON is a number (true and false are not)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
