from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import soundfile

from speechssl.errors import UserError
from speechssl.evaluation.hear.data import read_metadata, read_task
from speechssl.evaluation.hear.events import Event
from tests.evaluation.hear.conftest import BEEPS, EACH, FOLDS, PITCHES, write_tones


def change(folder: Path, file: str, **values: Any) -> None:
    found = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**found, **values}))


@pytest.fixture
def tones(tasks: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(tasks / "tones-v1-full", tmp_path / "tones"))


def test_recordings_labels_and_classes(tasks: Path) -> None:
    data = read_task(read_metadata(tasks / "tones-v1-full"))
    assert data.classes == sorted(PITCHES) and data.sample_rate == 16000
    assert len(data.recordings) == len(FOLDS) * len(PITCHES) * EACH
    first = data.recordings[0]
    assert (first.name, first.split) == ("fold00/high-0.wav", "fold00")
    assert first.samples == round(0.3 * 16000) == len(first.read())
    assert [data.classes[labels[0]] for labels in data.labels] == [
        Path(recording.name).name.partition("-")[0] for recording in data.recordings
    ]


def test_every_fold_is_tested_in_turn_and_the_following_one_chosen_on(tasks: Path) -> None:
    data = read_task(read_metadata(tasks / "tones-v1-full"))

    def folds(rows: list[int]) -> set[str]:
        return {data.recordings[row].split for row in rows}

    assert [division.name for division in data.divisions] == list(FOLDS)
    assert [(folds(d.test), folds(d.valid), folds(d.train)) for d in data.divisions] == [
        ({"fold00"}, {"fold01"}, {"fold02"}),
        ({"fold01"}, {"fold02"}, {"fold00"}),
        ({"fold02"}, {"fold00"}, {"fold01"}),
    ]
    for division in data.divisions:
        rows = [*division.train, *division.valid, *division.test]
        assert sorted(rows) == list(range(len(data.recordings)))


def test_parts_of_its_own_and_recordings_without_a_class(tasks: Path) -> None:
    data = read_task(read_metadata(tasks / "chords-v1-full"))
    (division,) = data.divisions
    assert (len(division.train), len(division.valid), len(division.test)) == (24, 8, 8)
    assert [] in data.labels and [0, 1, 2] in data.labels


def test_events_have_numbers_as_labels(tasks: Path) -> None:
    data = read_task(read_metadata(tasks / "beeps-v1-full"))
    assert data.classes == list(BEEPS)
    events = json.loads((tasks / "beeps-v1-full/train.json").read_text())["0.wav"]
    row = [recording.name for recording in data.recordings].index("train/0.wav")
    assert data.labels[row] == [Event(BEEPS_INDEX[e["label"]], e["start"], e["end"]) for e in events]


BEEPS_INDEX = {int(label): index for index, label in enumerate(BEEPS)}


def test_audio_is_read_at_the_rate_of_the_encoders_where_it_is_there(tmp_path: Path) -> None:
    folder = write_tones(tmp_path / "tones", rate=48000)
    data = read_task(read_metadata(folder))
    assert data.sample_rate == 48000 and data.recordings[0].samples == len(data.recordings[0].read()) == 4800
    shutil.copytree(folder / "48000", folder / "22050")
    assert read_task(read_metadata(folder)).sample_rate == 22050
    shutil.copytree(folder / "48000", folder / "16000")
    assert read_task(read_metadata(folder)).sample_rate == 16000


def test_a_task_may_have_its_own_training_and_postprocessing(tones: Path) -> None:
    """As MAESTRO's metadata."""
    special = {
        "event_postprocessing_grid": {"median_filter_ms": [150], "min_duration": [50]},
        "task_specific_param_grid": {"max_epochs": [50], "check_val_every_n_epoch": [1]},
    }
    change(tones, "task_metadata.json", evaluation_params=special, use_scoring_for_early_stopping=False)
    metadata = read_metadata(tones)
    assert metadata.training == {"max_epochs": 50, "check_val_every_n_epoch": 1} and metadata.choose_on_loss
    assert metadata.postprocessing == {"median_filter_ms": [150], "min_duration": [50]}


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("task_metadata.json", {"embedding_type": "scen"}, r"has embedding_type=scen \(known: scene, event\)"),
        ("task_metadata.json", {"split_mode": None}, "has split_mode=None"),
        ("task_metadata.json", {"evaluation": ["acc"]}, r"has the scores acc in evaluation \(known: top1_acc"),
        ("task_metadata.json", {"splits": ["fold00", "fold01"]}, "has fewer than 3 folds"),
        ("task_metadata.json", {"splits": "fold00"}, "has no list of names in splits"),
        ("fold01.json", {"low-0.wav": ["lwo"]}, "has the label 'lwo' for low-0.wav, which labelvocabulary.csv lacks"),
        ("fold01.json", {"low-0.wav": ["low", "high"]}, "has 2 labels for low-0.wav, which needs one"),
        (
            "task_metadata.json",
            {"splits": ["fold00", "fold01", "../fold02"]},
            r"has the fold \.\./fold02 in splits, which",
        ),
        ("fold01.json", {"../../low-0.wav": ["low"]}, r"names the recording '\.\./\.\./low-0\.wav', which is outside"),
        ("fold01.json", {"/low-0.wav": ["low"]}, r"names the recording '/low-0\.wav', which is outside of its folder"),
        ("fold01.json", {"gone.wav": ["low"]}, "16000/fold01/gone.wav cannot be read .no such file."),
    ],
)
def test_what_is_wrong_with_a_folder_is_said_in_one_line(tones: Path, file: str, values: dict, message: str) -> None:
    change(tones, file, **values)
    with pytest.raises(UserError, match=message) as caught:
        read_task(read_metadata(tones))
    assert str(tones) in str(caught.value) and "\n" not in str(caught.value)


GRID, POSTPROCESSING = "task_specific_param_grid", "event_postprocessing_grid"


@pytest.mark.parametrize(
    ("special", "message"),
    [
        ("x", "has no mapping in evaluation_params"),
        ({GRID: [50]}, "has no mapping in task_specific_param_grid"),
        ({GRID: {"max_epochs": 50}}, "has no list of numbers of 1 or more in max_epochs of task_specific_param_grid"),
        ({GRID: {"max_epochs": [None]}}, "has no list of numbers of 1 or more in max_epochs"),
        ({GRID: {"max_epochs": []}}, "has no list of numbers of 1 or more in max_epochs"),
        ({GRID: {"check_val_every_n_epoch": [0]}}, "has no list of numbers of 1 or more in check_val_every_n_epoch"),
        ({POSTPROCESSING: {"median_filter_ms": 250}}, "has no list of numbers of 0 or more in median_filter_ms"),
        ({POSTPROCESSING: {"min_duration": [float("nan")]}}, "has no list of numbers of 0 or more in min_duration"),
    ],
)
def test_training_and_postprocessing_of_another_form_are_refused(tones: Path, special: Any, message: str) -> None:
    change(tones, "task_metadata.json", evaluation_params=special)
    with pytest.raises(UserError, match=rf"task_metadata\.json {message}"):
        read_metadata(tones)


def test_a_vocabulary_may_begin_with_a_byte_order_mark_and_names_each_label_once(tones: Path) -> None:
    file = tones / "labelvocabulary.csv"
    text = file.read_text()
    file.write_text("\ufeff" + text, encoding="utf-8")
    assert read_task(read_metadata(tones)).classes == sorted(PITCHES)
    for line, message in (("3,low", "has two numbers of the label low"), ("3,", "has a number without a label")):
        file.write_text(f"{text}{line}\n")
        with pytest.raises(UserError, match=rf"labelvocabulary\.csv {message}"):
            read_task(read_metadata(tones))


@pytest.mark.parametrize(("start", "end"), [(2.0, 1.0), (0.0, float("nan")), (0.0, float("inf"))])
def test_an_event_that_ends_before_it_starts_is_named(tasks: Path, tmp_path: Path, start: float, end: float) -> None:
    beeps = Path(shutil.copytree(tasks / "beeps-v1-full", tmp_path / "beeps"))
    change(beeps, "valid.json", **{"1.wav": [{"label": 60, "start": start, "end": end}]})
    with pytest.raises(UserError, match=rf"valid\.json has an event from {start:g} to {end:g} ms in 1\.wav"):
        read_task(read_metadata(beeps))


@pytest.mark.parametrize("event", [{"label": 60, "start": 1.0}, {"label": 60, "start": 1.0, "end": None}, 60])
def test_an_event_without_times_is_named(tasks: Path, tmp_path: Path, event: Any) -> None:
    beeps = Path(shutil.copytree(tasks / "beeps-v1-full", tmp_path / "beeps"))
    change(beeps, "valid.json", **{"1.wav": [event]})
    with pytest.raises(
        UserError, match=r"valid\.json has no label, start or end \(milliseconds\) of an event in 1\.wav"
    ):
        read_task(read_metadata(beeps))


def test_missing_files_are_named(tones: Path) -> None:
    (tones / "fold02.json").unlink()
    with pytest.raises(UserError, match=r"tones/fold02\.json does not exist"):
        read_task(read_metadata(tones))
    (tones / "labelvocabulary.csv").write_text("label\nlow\n")
    with pytest.raises(UserError, match=r"labelvocabulary.csv has no columns idx \(numbers\) and label"):
        read_task(read_metadata(tones))
    shutil.rmtree(tones / "16000")
    (tones / "labelvocabulary.csv").write_text("idx,label\n0,low\n1,high\n")
    with pytest.raises(UserError, match="has no folder of audio, named by its sample rate"):
        read_task(read_metadata(tones))


def test_broken_audio_is_named(tones: Path) -> None:
    (tones / "16000/fold01/low-1.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"fold01/low-1.wav cannot be read"):
        read_task(read_metadata(tones))
    soundfile.write(tones / "16000/fold01/low-1.wav", [0.0] * 100, 16000)
    assert read_task(read_metadata(tones)).recordings
