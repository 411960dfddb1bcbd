"""The HEAR tasks that s3prl carries, and the folders that their archives unpack to.

hear-preprocess 2021.1.1 (github.com/hearbenchmark/hear-preprocess) names a task's folder `<task>-<version>-<mode>`, and
the archives (zenodo.org/records/5885750, 48 kHz) unpack to `hear-2021.0.6/tasks/<folder>`. The sixteen are those that
s3prl 0.4.18 has as problems.
"""

from __future__ import annotations

from pathlib import Path

from speechssl.errors import UserError, nearest
from speechssl.files import read_json

METADATA = "task_metadata.json"
"""What a task is; a folder is a task's where it has this file."""

FOLDERS = {
    "beijing_opera": "beijing_opera-v1.0-hear2021-full",
    "dcase2016_task2": "dcase2016_task2-hear2021-full",
    "esc50": "esc50-v2.0.0-full",
    "fsd50k": "fsd50k-v1.0-full",
    "gunshot_triangulation": "gunshot_triangulation-v1.0-full",
    "libricount": "libricount-v1.0.0-hear2021-full",
    "maestro": "maestro-v3.0.0-5h",
    "mridangam_stroke": "mridangam_stroke-v1.5-full",
    "mridangam_tonic": "mridangam_tonic-v1.5-full",
    "nsynth_pitch": "nsynth_pitch-v2.2.3-5h",
    "speech_commands": "speech_commands-v0.0.2-5h",
    "tfds_crema_d": "tfds_crema_d-1.0.0-full",
    "tfds_gtzan": "tfds_gtzan-1.0.0-full",
    "tfds_gtzan_music_speech": "tfds_gtzan_music_speech-1.0.0-full",
    "vocal_imitation": "vocal_imitation-v1.1.3-full",
    "vox_lingua_top10": "vox_lingua_top10-hear2021-full",
}
"""Name of the task -> its folder."""


def tasks_there(corpus_dir: str) -> list[str]:
    """Return the names of the sixteen tasks whose folders are below `corpus_dir`.

    Raises:
        UserError: `corpus_dir` is no folder.
    """
    root = _root(corpus_dir)
    return [task for task, folder in FOLDERS.items() if _below(root, folder)]


def task_folder(corpus_dir: str, task: str) -> Path:
    """Return the folder of a task: `corpus_dir` itself, or below it, as HEAR's archives unpack.

    Args:
        corpus_dir: the task's folder, the folder of several tasks' folders, or the one with `hear-*/tasks`.
        task: a name of `FOLDERS`, or of a folder.

    Raises:
        UserError: it is not there.
    """
    root = _root(corpus_dir)
    name = FOLDERS.get(task, task)
    place = _below(root, name)
    if place:
        return place
    if (root / METADATA).is_file():
        return _own_folder(root, task, name)
    found = sorted(file.parent.name for file in root.glob(f"*/{METADATA}"))
    hint = "" if task in FOLDERS else f"{nearest(task, [*FOLDERS, *found])} (known: {', '.join(FOLDERS)})"
    raise UserError(
        f"task={task} is not in corpus_dir={corpus_dir}: expected {root / name / METADATA}, as HEAR's archive of the "
        f"task unpacks (tasks there: {', '.join(found) or 'none'}){hint}"
    )


def _root(corpus_dir: str) -> Path:
    root = Path(corpus_dir).expanduser()
    if not root.is_dir():
        raise UserError(f"corpus_dir={corpus_dir} is not a folder; give the one that HEAR's archives were unpacked in")
    return root


def _below(root: Path, name: str) -> Path | None:
    """Return the folder of that name with a task in it, where the archives unpack to."""
    places = (root / name, root / "tasks" / name, *sorted(root.glob(f"hear-*/tasks/{name}")))
    return next((place for place in places if (place / METADATA).is_file()), None)


def _own_folder(root: Path, task: str, name: str) -> Path:
    """Return the folder if it is the task's own: by what is written in it, or by its name."""
    written = read_json(root / METADATA).get("task_name", root.name)
    if task not in (written, root.name) and root.name != name:
        raise UserError(f"corpus_dir={root} is the folder of task {written}, not of {task}; give task={written}")
    return root
