from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from speechssl.errors import UserError
from speechssl.evaluation.hear.folders import FOLDERS, task_folder
from speechssl.evaluation.hear.settings import HearSettings
from speechssl.s3prl_patches import guarded_s3prl


def make_task(folder: Path) -> Path:
    folder.mkdir(parents=True)
    name = folder.name.partition("-")[0]
    (folder / "task_metadata.json").write_text(json.dumps({"task_name": name}))
    return folder


S3PRL = {
    "beijing_opera": "HearBeijingOpera",
    "dcase2016_task2": "HearDcase2016Task2",
    "esc50": "HearESC50",
    "fsd50k": "HearFSD",
    "gunshot_triangulation": "HearGunshot",
    "libricount": "HearLibriCount",
    "maestro": "HearMaestro",
    "mridangam_stroke": "HearStroke",
    "mridangam_tonic": "HearTonic",
    "nsynth_pitch": "HearNsynth5hr",
    "speech_commands": "HearGSC5hr",
    "tfds_crema_d": "HearCremaD",
    "tfds_gtzan": "HearGtzan",
    "tfds_gtzan_music_speech": "HearGtzanMusicSpeech",
    "vocal_imitation": "HearVocal",
    "vox_lingua_top10": "HearVoxLingual",
}
"""Name of a task -> s3prl's problem."""


def test_the_tasks_are_those_of_s3prl_each_with_its_version_and_mode() -> None:
    with guarded_s3prl():
        from s3prl import problem
    assert set(S3PRL.values()) == {name for name in dir(problem) if name.startswith("Hear")}
    assert set(FOLDERS) == set(S3PRL) and len(set(FOLDERS.values())) == len(FOLDERS) == 16
    assert all(folder.startswith(f"{name}-") and folder.endswith(("-full", "-5h")) for name, folder in FOLDERS.items())


@pytest.mark.parametrize("below", ["", "tasks", "hear-2021.0.6/tasks"])
def test_a_task_is_found_by_its_name_wherever_its_archive_was_unpacked(tmp_path: Path, below: str) -> None:
    esc50 = make_task(tmp_path / below / "esc50-v2.0.0-full")
    assert task_folder(str(tmp_path), "esc50") == esc50
    assert task_folder(str(tmp_path), "esc50-v2.0.0-full") == esc50
    assert task_folder(str(esc50), "esc50") == esc50


def test_what_was_expected_where_is_said(tmp_path: Path) -> None:
    make_task(tmp_path / "esc50-v2.0.0-full")
    with pytest.raises(UserError) as caught:
        task_folder(str(tmp_path), "fsd50k")
    message = str(caught.value)
    assert f"expected {tmp_path}/fsd50k-v1.0-full/task_metadata.json" in message
    assert "(tasks there: esc50-v2.0.0-full)" in message and "\n" not in message


def test_a_wrong_name_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"did you mean 'maestro'\? \(known: beijing_opera, .*vox_lingua_top10\)"):
        task_folder(str(tmp_path), "maestr")
    with pytest.raises(UserError, match="gone is not a folder"):
        task_folder(str(tmp_path / "gone"), "maestro")


def test_a_folder_of_another_task_is_not_taken(tmp_path: Path) -> None:
    folder = make_task(tmp_path / "esc50-v2.0.0-full")
    with pytest.raises(UserError, match=r"esc50-v2.0.0-full is the folder of task esc50, not of fsd50k"):
        task_folder(str(folder), "fsd50k")
    renamed = Path(shutil.move(folder, tmp_path / "mine"))
    assert task_folder(str(renamed), "esc50") == task_folder(str(tmp_path), "mine") == renamed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "a/b"}, "task=a/b is no name of a task"),
        ({"lr": []}, r"lr=\[\] must list different numbers, each more than 0"),
        ({"seeds": [1, 1]}, r"seeds=\[1, 1\] must list different numbers"),
        ({"hidden_layers": [-1]}, r"hidden_layers=\[-1\] must list different numbers, each 0 or more"),
        ({"batch_size": 1}, "batch_size=1 must be 2 or more"),
        ({"epochs": 0}, "epochs=0 must be more than 0"),
        ({"batch_seconds": float("nan")}, "batch_seconds=nan must be more than 0"),
        ({"lr": [float("inf")]}, r"lr=\[inf\] must list different numbers, each more than 0"),
        ({"seeds": [10**23]}, "must list different numbers, each 0 or more and at most 4294967295"),
        ({"dropout": 1.0}, "dropout=1.0 must be 0 or more and less than 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        HearSettings(**{"task": "esc50", "corpus_dir": "c", "out_dir": "o", "encoders": {}, **changes})
