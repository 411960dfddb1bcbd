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
from speechssl.files import write_text

COLUMN = "class"
"""Column of the classes."""

Cells = list[dict[str, str]]


def write_data(folder: Path, data: TaskData, parts: Mapping[str, Rows], unlabelled: Rows, audio: Path) -> bool:
    """Write `<part>.tsv` of each part, and `metadata.tsv` with the class of each recording; leave what is there.

    Args:
        folder: written into.
        data: the task's clips.
        parts: rows of them by the part's name.
        unlabelled: rows that stand there without their class.
        audio: `audio.json` beside the task's own manifests, where there is one: it is copied, so that a run notices
            when recordings have changed.

    Returns:
        False where the folder holds other data already.
    """
    root = Path(os.path.commonpath([recording.audio.parent for recording in data.recordings])).absolute()
    hidden = set(unlabelled.tolist())
    table = [_cells(data, row, part, root, row in hidden) for part, rows in parts.items() for row in rows.tolist()]
    if (folder / METADATA).is_file():
        return _holds(folder, table, root, audio)
    for part, rows in parts.items():
        paths = [cells["path"] for cells in table if cells["split"] == part]
        samples = [data.recordings[row].samples for row in rows.tolist()]
        write_manifest(folder / f"{part}.tsv", root, zip(paths, samples, strict=True))
    if audio.is_file():
        write_text(folder / AUDIO, audio.read_text(encoding="utf-8"))
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


def _holds(folder: Path, table: Cells, root: Path, audio: Path) -> bool:
    same_audio = not audio.is_file() or (folder / AUDIO).read_bytes() == audio.read_bytes()
    same_root = read_manifest(folder / "train.tsv").root == root
    return same_audio and same_root and list(read_metadata(folder / METADATA).values()) == table
