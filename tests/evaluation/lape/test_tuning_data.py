"""What a fine-tuning run was trained on is noticed when it changes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from speechssl.evaluation.lape.data import read_task
from speechssl.evaluation.lape.settings import LapeTask
from speechssl.evaluation.lape.tuning_data import write_data
from tests.evaluation.lape.conftest import write_manifests, write_tones


def test_the_data_of_a_run_are_others_once_a_recording_of_it_changes(tmp_path: Path) -> None:
    manifests = write_manifests(write_tones(tmp_path / "tones", each=3), tmp_path / "data")
    data = read_task(manifests, LapeTask(name="t", corpus="folder", column="class", clip_seconds=0.5))
    parts, none = {"train": np.array([0, 3, 6]), "valid": np.array([1])}, np.array([], dtype=np.int64)

    def written() -> bool:
        return write_data(tmp_path / "run", data, parts, none)

    assert written() and written()
    os.utime(data.recordings[2].audio, (1, 1))
    assert written(), "the recording is in no part of the run"
    os.utime(data.recordings[3].audio, (1, 1))
    assert not written()
