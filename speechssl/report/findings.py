"""What a run left behind: find the files, read them, and list what is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechssl.errors import UserError
from speechssl.report.folders import CLUSTER_QUALITY, cluster_qualities, method_and_seed, run_folders
from speechssl.report.reading import (
    BenchmarkFolder,
    JsonObject,
    benchmark_files,
    benchmark_folder,
    current_results,
    is_number,
    is_whole,
    matching,
    object_if_there,
    read_benchmark,
    read_object,
)

SPEECH = {
    "units/quality.json": "unit quality",
    "units/kmeans.json": "k-means",
    "topics/quality.json": "topic quality",
    "topics/*.png": "topic map",
    "evaluate/results.json": "evaluation",
    "export/**/check.json": "export",
}
"""Files that the recipes of speech leave -> what they hold."""
CLIPS = {
    CLUSTER_QUALITY: "clusters",
    "lape/*/results.json": "LAPE, linear",
    "lape/*/finetune/results.json": "LAPE, fine-tuned",
}
"""Files that the recipes of clips leave -> what they hold."""
LAPE = "lape"
"""Folder of the results, and name of the benchmark in them."""
BENCHMARKS = ("hear", "superb")
"""Other benchmarks: folders of their results, and names in them."""
LAPE_KEYS = ("mode", "protocol", "chosen", "settings", "task", "encoders", "summary", "left_out")
"""What a `results.json` of LAPE has (`speechssl.evaluation.lape.results`), and the report shows."""

SPLITS = ("train", "valid")
Metrics = dict[str, float]
"""One line of metrics."""


@dataclass
class Run:
    """One run folder, mostly `<method>-seed<S>`."""

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


@dataclass(frozen=True)
class LapeResults:
    """Folder `lape/<task>/`, or `lape/<task>/finetune/`."""

    file: Path
    """The `results.json`."""
    values: JsonObject
    """What it holds; `LAPE_KEYS` are there."""
    confusion: JsonObject
    """Content of `confusion.json`: encoder -> label fraction -> true class -> predicted class -> clips."""
    picture: Path | None
    """`confusion.png`, where it is there."""


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
    lape_folder: Path = Path()
    """Folder of LAPE's results."""
    lape: list[LapeResults] = field(default_factory=list)
    """One a task and mode, linear before fine-tuned."""
    lape_left_out: list[JsonObject] = field(default_factory=list)
    """Whole tasks: `what` is not there, and the `reason`."""
    hear: BenchmarkFolder = field(default_factory=BenchmarkFolder)
    superb: BenchmarkFolder = field(default_factory=BenchmarkFolder)
    clusters: dict[str, JsonObject] = field(default_factory=dict)
    """Folder of clusters -> its `quality.json`."""
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
    confusion = ("confusion.json", "confusion.png")
    files = [
        *(path for pattern in (*SPEECH, *CLIPS, "run.sh") for path in _matching(exp, pattern)),
        *(path for name in BENCHMARKS for path in benchmark_files(exp, name)),
        benchmark_folder(exp, LAPE) / "results.json",
        *(path.with_name(name) for path in _lape_files(exp) for name in ("results.json", *confusion)),
        *(exp / folder / name for folder in run_folders(exp) for name in ("config.yaml", *map(_metrics, SPLITS))),
        *_export_checks(exp),
        *(path for paths in _exports(exp).values() for path in paths),
    ]
    return [path for path in dict.fromkeys(files) if path.is_file()]


def read_findings(exp: Path) -> Findings:
    """Read what the experiment folder `exp` holds; a folder that does not exist is a `UserError`."""
    if not exp.is_dir():
        raise UserError(f"the experiment folder {exp} does not exist; give the folder of a recipe as exp=FOLDER")
    found = Findings(exp)
    found.units = object_if_there(exp / "units/quality.json")
    found.kmeans = object_if_there(exp / "units/kmeans.json")
    found.topics = object_if_there(exp / "topics/quality.json")
    found.evaluation = object_if_there(exp / "evaluate/results.json")
    if (exp / "run.sh").is_file():
        found.command = _command((exp / "run.sh").read_text(encoding="utf-8", errors="replace"))
    found.pictures = matching(exp, "topics/*.png")
    found.lape = [each for each in map(_read_lape, _lape_files(exp)) if each.values.get("benchmark") == LAPE]
    found.lape_folder = benchmark_folder(exp, LAPE)
    # The table of all tasks has those that were asked for and could not be done, too.
    found.lape_left_out = object_if_there(found.lape_folder / "results.json").get("left_out", [])
    found.hear, found.superb = (read_benchmark(exp, name) for name in BENCHMARKS)
    found.clusters = {folder: read_object(path) for folder, path in cluster_qualities(exp).items()}
    found.exports = _exports(exp)
    found.export_checks = {path.relative_to(exp).as_posix(): read_object(path) for path in _export_checks(exp)}
    found.runs = [_read_run(exp, folder) for folder in run_folders(exp)]
    found.missing = _missing(found)
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


def _command(script: str) -> str:
    """Return the commands of the `run.sh` that a recipe leaves, without the folders they were called in."""
    lines = [line for line in script.splitlines() if line.strip() and not line.startswith("#")]
    return "; ".join(re.sub(r"^cd .*? && ", "", line).strip() for line in lines)


def _parse_line(path: Path, number: int, line: str) -> Metrics:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {number} is not valid JSON ({error.msg}); mend or remove that line") from error
    if not isinstance(value, dict) or not is_number(value.get("step")):
        raise UserError(f"{path}, line {number} is not a JSON object with a number `step`; mend or remove that line")
    return {key: float(inner) for key, inner in value.items() if is_number(inner)}


def _missing(found: Findings) -> list[str]:
    """Return a line for each part that is not there: of the recipes that were begun, or of all where none was.

    Where a benchmark of finished encoders is all there is, nothing is missing.
    """
    kinds = (SPEECH, CLIPS)
    there = {pattern for kind in kinds for pattern in kind if _matching(found.exp, pattern)}
    begun = [kind for kind in kinds if there.intersection(kind)]
    if not begun and not found.runs and (found.lape or found.hear.tasks or found.superb.tasks):
        return []
    expected = {pattern: what for kind in begun or kinds for pattern, what in kind.items()}
    missing = [f"{what} ({pattern})" for pattern, what in expected.items() if pattern not in there]
    if not found.runs:
        missing.append("pretraining (<method>-seed<S>/ or another folder with run.json)")
    if not found.command:
        missing.append("the command of the recipe (run.sh)")
    for run in found.runs:
        for split, rows in zip(SPLITS, (run.train, run.valid), strict=True):
            if not rows:
                missing.append(f"{split} metrics of {run.folder} ({run.folder}/{_metrics(split)})")
    return missing


def _matching(exp: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern; clusters may be anywhere, but not in what an evaluation leaves."""
    return list(cluster_qualities(exp).values()) if pattern == CLUSTER_QUALITY else matching(exp, pattern)


def _read_lape(file: Path) -> LapeResults:
    values = read_object(file)
    lacking = [key for key in LAPE_KEYS if key not in values]
    if values.get("benchmark") == LAPE and lacking:
        raise UserError(f"{file} has no `{lacking[0]}`: it is of another version; make it again")
    picture = file.with_name("confusion.png")
    return LapeResults(
        file, values, object_if_there(file.with_name("confusion.json")), picture if picture.is_file() else None
    )


def _read_run(exp: Path, name: str) -> Run:
    folder = exp / name
    file = folder / "config.yaml"
    config = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    method, seed = method_and_seed(name)
    set_seed = re.search(r"^seed: (\d+)$", config, re.MULTILINE)
    metrics = {}
    for split in SPLITS:
        path = folder / _metrics(split)
        metrics[split] = read_json_lines(path) if path.is_file() else []
    return Run(
        folder=name,
        method=method,
        seed=int(set_seed[1]) if set_seed and method == name else seed,
        train=metrics["train"],
        valid=metrics["valid"],
        config=config,
    )


def _metrics(split: str) -> str:
    return f"metrics/{split}.jsonl"


def _lape_files(exp: Path) -> list[Path]:
    """Return the `results.json` of each task, of the fine-tuned encoders after that of the linear heads."""
    folder = benchmark_folder(exp, LAPE)
    files = [*matching(folder, "*/results.json"), *matching(folder, "*/finetune/results.json")]
    return sorted(current_results(folder, files), key=lambda file: file.parent)


def _exports(exp: Path) -> dict[str, list[Path]]:
    """Return the files of each folder that holds weights."""
    files = sorted(path for path in (exp / "export").rglob("*") if path.is_file() and is_whole(path))
    folders = sorted({path.parent for path in files if path.suffix in (".pt", ".safetensors")})
    return {folder.relative_to(exp).as_posix(): [path for path in files if path.parent == folder] for folder in folders}


def _export_checks(exp: Path) -> list[Path]:
    """Return the JSON files beside the exports; those inside belong to the other toolkit."""
    inside = {path for files in _exports(exp).values() for path in files}
    return sorted(path for path in (exp / "export").rglob("*.json") if path not in inside and is_whole(path))
