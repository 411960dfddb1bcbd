"""Where an experiment folder has its runs and its clusters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from speechssl.report.reading import is_whole, matching

RUN_FOLDER = re.compile(r"(?P<method>.+)-seed(?P<seed>\d+)")
CLUSTERS = "clusters*"
"""Folders of `speechssl cluster`, `clusters-seed<S>` or `clusters/<target>-seed<S>`; they are no runs."""
CLUSTER_QUALITY = f"**/{CLUSTERS}/**/quality.json"

_DEPTH = 3
"""Runs and clusters are looked for so many folders down: `unfused/birds-seed1` and `sounds/simclr` are two."""
_RESULTS = ("evaluate", "lape", "hear", "superb", "export")
"""Folders that the recipes evaluate into. Fine-tuning leaves runs there that belong to the evaluation."""


def method_and_seed(folder: str) -> tuple[str, int]:
    """Return what a folder `<method>-seed<S>` is called and its seed, or its name and 0."""
    match = RUN_FOLDER.fullmatch(folder)
    return (match["method"], int(match["seed"])) if match else (folder, 0)


def run_folders(exp: Path) -> list[str]:
    """Return the run folders, from `exp`, by method and seed: 2 before 10."""
    folders = [folder.relative_to(exp).as_posix() for folder in _below(exp, _DEPTH) if _is_run(folder)]
    return sorted(folders, key=method_and_seed)


def cluster_qualities(exp: Path) -> dict[str, Path]:
    """Return the `quality.json` of each folder of clusters, from `exp`, by target and seed."""
    found = [
        path for folder in _below(exp, _DEPTH) if folder.match(CLUSTERS) for path in matching(folder, "**/quality.json")
    ]
    folders = {path.parent.relative_to(exp).as_posix(): path for path in found}
    return {folder: folders[folder] for folder in sorted(folders, key=method_and_seed)}


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folders below one, but none inside a run, clusters or an evaluation."""
    try:
        children = sorted(path for path in folder.iterdir() if path.is_dir() and is_whole(path))
    except OSError:  # not there, or not to be read: `read_findings` says so of the experiment folder
        return
    for child in children:
        yield child
        # A run with pseudo-labels has its first steps in it, and is one when the last has begun.
        begun = (child / "classifier/run.json").is_file()
        closed = begun or _is_run(child) or child.match(CLUSTERS) or _has_results(child)
        if depth > 1 and not closed:
            yield from _below(child, depth - 1)


def _is_run(folder: Path) -> bool:
    return not folder.match(CLUSTERS) and ((folder / "run.json").is_file() or (folder / "metrics").is_dir())


def _has_results(folder: Path) -> bool:
    return folder.name in _RESULTS or (folder / "results.json").is_file()
