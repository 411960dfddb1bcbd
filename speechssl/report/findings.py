"""What a run left behind: find the files, read them, and list what is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechssl.errors import UserError
from speechssl.files import read_json

RUN_FOLDER = re.compile(r"(?P<method>.+)-seed(?P<seed>\d+)")
STAGES = {
    "units/quality.json": "unit quality",
    "units/kmeans.json": "k-means",
    "topics/quality.json": "topic quality",
    "evaluate/results.json": "evaluation",
    "run.sh": "the command of the recipe",
}
"""File in the experiment folder -> what it holds; one that is missing is listed on the page."""

JsonObject = dict[str, Any]
Metrics = dict[str, float]
"""One line of metrics."""


@dataclass
class Run:
    """One run folder `<method>-seed<S>`."""

    folder: str
    method: str
    seed: int
    train: list[Metrics]
    """Numbers of `metrics/train.jsonl`, by rising step, one row a step."""
    valid: list[Metrics]
    """Numbers of `metrics/valid.jsonl`, likewise."""
    config: str
    """Text of `config.yaml`; empty where there is none."""

    @property
    def label(self) -> str:
        """Name in legends."""
        return f"{self.method} seed {self.seed}"


@dataclass
class Findings:
    """All that the report shows."""

    exp: Path
    units: JsonObject = field(default_factory=dict)
    kmeans: JsonObject = field(default_factory=dict)
    topics: JsonObject = field(default_factory=dict)
    evaluation: JsonObject = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    """PNG files of the topics stage."""
    runs: list[Run] = field(default_factory=list)
    exports: dict[str, list[Path]] = field(default_factory=dict)
    """Files of each folder under `export/` that holds weights."""
    export_checks: dict[str, JsonObject] = field(default_factory=dict)
    """Content of the other JSON files under `export/` (differences to our own encoder), by path."""
    command: str = ""
    missing: list[str] = field(default_factory=list)
    """What is not there, one line each."""


def input_files(exp: Path) -> list[Path]:
    """Return the files of an experiment that the report reads, in a fixed order."""
    named = [exp / name for name in STAGES if (exp / name).is_file()]
    runs = [
        path
        for folder in _run_folders(exp)
        for path in (folder / "config.yaml", folder / "metrics/train.jsonl", folder / "metrics/valid.jsonl")
        if path.is_file()
    ]
    exported = [path for files in _exports(exp).values() for path in files]
    return named + runs + _pictures(exp) + _export_checks(exp) + exported


def read_findings(exp: Path) -> Findings:
    """Read what the experiment folder `exp` holds; a folder that does not exist is a `UserError`."""
    if not exp.is_dir():
        raise UserError(f"the experiment folder {exp} does not exist; give the folder of a recipe as exp=FOLDER")
    found = Findings(exp)
    found.missing = [f"{what} ({name})" for name, what in STAGES.items() if not (exp / name).is_file()]
    found.units = _object_if_there(exp / "units/quality.json")
    found.kmeans = _object_if_there(exp / "units/kmeans.json")
    found.topics = _object_if_there(exp / "topics/quality.json")
    found.evaluation = _object_if_there(exp / "evaluate/results.json")
    if (exp / "run.sh").is_file():
        found.command = _command((exp / "run.sh").read_text(encoding="utf-8", errors="replace"))
    found.pictures = _pictures(exp)
    if not found.pictures:
        found.missing.append("topic map (topics/*.png)")
    found.exports = _exports(exp)
    found.export_checks = {path.relative_to(exp).as_posix(): _object(path) for path in _export_checks(exp)}
    if not found.exports:
        found.missing.append("export (export/)")
    found.runs = [_read_run(folder) for folder in _run_folders(exp)]
    if not found.runs:
        found.missing.append("pretraining (<method>-seed<S>/)")
    for run in found.runs:
        for split, rows in (("train", run.train), ("valid", run.valid)):
            if not rows:
                found.missing.append(f"{split} metrics of {run.folder} ({run.folder}/metrics/{split}.jsonl)")
    return found


def read_json_lines(path: Path) -> list[Metrics]:
    """Return the numbers of a JSON Lines file, one row a step, by rising step.

    Values that are not numbers are left out. A step that comes twice (a run that was stopped and went on from a
    checkpoint) keeps its last line. A line that is not a JSON object with a `step` is a `UserError`.
    """
    rows: dict[float, Metrics] = {}
    with open(path, encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = _parse_line(path, number, line)
            rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]


def flat_numbers(value: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield `(name, number)` of every number in nested dictionaries; inner names are joined by spaces."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat_numbers(inner, f"{prefix} {key}".strip())
    elif is_number(value):
        yield prefix, value


def is_number(value: Any) -> bool:
    """Tell whether a value read from JSON is a number (true and false are not)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _command(script: str) -> str:
    """Return the command of the `run.sh` that a recipe leaves: its last line, without the folder it was called in."""
    lines = script.strip().splitlines()
    return re.sub(r"^cd .*? && ", "", lines[-1]).strip() if lines else ""


def _parse_line(path: Path, number: int, line: str) -> Metrics:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {number} is not valid JSON ({error.msg}); mend or remove that line") from error
    if not isinstance(value, dict) or not is_number(value.get("step")):
        raise UserError(f"{path}, line {number} is not a JSON object with a number `step`; mend or remove that line")
    return {key: float(inner) for key, inner in value.items() if is_number(inner)}


def _read_run(folder: Path) -> Run:
    match = RUN_FOLDER.fullmatch(folder.name)
    assert match is not None
    config = folder / "config.yaml"
    metrics = {}
    for split in ("train", "valid"):
        path = folder / "metrics" / f"{split}.jsonl"
        metrics[split] = read_json_lines(path) if path.is_file() else []
    return Run(
        folder=folder.name,
        method=match["method"],
        seed=int(match["seed"]),
        train=metrics["train"],
        valid=metrics["valid"],
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
    )


def _run_folders(exp: Path) -> list[Path]:
    folders = [path for path in exp.glob("*-seed*") if path.is_dir() and RUN_FOLDER.fullmatch(path.name)]
    return sorted(folders, key=lambda path: (path.name.rpartition("-seed")[0], int(path.name.rpartition("-seed")[2])))


def _pictures(exp: Path) -> list[Path]:
    return sorted(path for path in (exp / "topics").glob("*.png") if _is_whole(path))


def _exports(exp: Path) -> dict[str, list[Path]]:
    """Return the files of each folder that holds weights."""
    files = sorted(path for path in (exp / "export").rglob("*") if path.is_file() and _is_whole(path))
    folders = sorted({path.parent for path in files if path.suffix in (".pt", ".safetensors")})
    return {folder.relative_to(exp).as_posix(): [path for path in files if path.parent == folder] for folder in folders}


def _export_checks(exp: Path) -> list[Path]:
    """Return the JSON files beside the exports; those inside belong to the other toolkit."""
    inside = {path for files in _exports(exp).values() for path in files}
    return sorted(path for path in (exp / "export").rglob("*.json") if path not in inside and _is_whole(path))


def _is_whole(path: Path) -> bool:
    """Tell a result from what a killed process had begun to write beside it (see `speechssl.files.whole_file`)."""
    return not path.name.startswith(".")


def _object_if_there(path: Path) -> JsonObject:
    return _object(path) if path.is_file() else {}


def _object(path: Path) -> JsonObject:
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a JSON object; make it again")
    return value
