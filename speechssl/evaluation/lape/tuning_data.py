"""What a fine-tuning run reads: manifests of some of a task's clips, and their classes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from speechssl.audio import SAMPLE_RATE
from speechssl.data.manifest import AUDIO, read_manifest, write_manifest
from speechssl.data.metadata import METADATA, read_metadata, write_metadata
from speechssl.evaluation.lape.data import TaskData
from speechssl.evaluation.lape.splits import Rows
from speechssl.files import changes, read_json, write_json

COLUMN = "class"
"""Column of the classes."""

Cells = list[dict[str, str]]


def write_data(folder: Path, data: TaskData, parts: Mapping[str, Rows], unlabelled: Rows) -> bool:
    """Write `<part>.tsv` of each part, `audio.json`, and `metadata.tsv` with the class of each recording.

    What is there is left as it is. `audio.json` changes when a recording does, so that a run notices it.

    Args:
        folder: written into.
        data: the task's clips.
        parts: rows of them by the part's name.
        unlabelled: rows that stand there without their class.

    Returns:
        False where the folder holds other data already.
    """
    root = Path(os.path.commonpath([recording.audio.parent for recording in data.recordings])).absolute()
    hidden = set(unlabelled.tolist())
    table = [_cells(data, row, part, root, row in hidden) for part, rows in parts.items() for row in rows.tolist()]
    audio = {"sha256": changes(data.recordings[row].audio for rows in parts.values() for row in rows.tolist())}
    if (folder / METADATA).is_file():
        return _holds(folder, table, root, audio)
    for part, rows in parts.items():
        paths = [cells["path"] for cells in table if cells["split"] == part]
        samples = [data.recordings[row].samples for row in rows.tolist()]
        write_manifest(folder / f"{part}.tsv", root, zip(paths, samples, strict=True))
    write_json(folder / AUDIO, audio)
    # Written last: where it is, the others are.
    write_metadata(folder / METADATA, [COLUMN], table)
    return True


def _cells(data: TaskData, row: int, part: str, root: Path, hidden: bool) -> dict[str, str]:
    recording = data.recordings[row]
    return {
        "path": recording.audio.absolute().relative_to(root).as_posix(),
        "split": part,
        "seconds": f"{recording.samples / SAMPLE_RATE:.3f}",
        COLUMN: "" if hidden else data.classes[data.labels[row]],
    }


def _holds(folder: Path, table: Cells, root: Path, audio: dict[str, str]) -> bool:
    same_audio = (folder / AUDIO).is_file() and read_json(folder / AUDIO) == audio
    same_root = read_manifest(folder / "train.tsv").root == root
    return same_audio and same_root and list(read_metadata(folder / METADATA).values()) == table
