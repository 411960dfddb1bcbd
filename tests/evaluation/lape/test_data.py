"""Which recordings are clips of a task, and of which class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.errors import UserError
from speechssl.evaluation.lape.data import data_folder, read_task
from speechssl.evaluation.lape.settings import LapeSettings, LapeTask
from tests.evaluation.lape.conftest import EACH, PITCHES, tone, write_manifests


def task(column: str, **settings: object) -> LapeTask:
    return LapeTask(**{"name": "t", "corpus": "folder", "column": column, "clip_seconds": 0.5, **settings})


def test_every_recording_has_the_class_of_its_metadata(data_dir: Path) -> None:
    data = read_task(data_dir, task("class"))
    assert data.classes == sorted(PITCHES) and data.left_out == []
    for recording, label in zip(data.recordings, data.labels, strict=True):
        assert recording.name.startswith(data.classes[label])
    samples = [recording.samples for recording in data.recordings]
    expected = {"clips": 3 * EACH, "padded": sum(s < 8000 for s in samples), "cut": sum(s > 8000 for s in samples)}
    assert data.lengths(0.5) == expected


def test_without_a_column_the_folder_is_the_class(data_dir: Path) -> None:
    named, by_folder = read_task(data_dir, task("class")), read_task(data_dir, task("folder"))
    assert by_folder.classes == named.classes and by_folder.labels.tolist() == named.labels.tolist()


def test_only_what_a_task_asks_for_is_used_and_the_rest_is_counted(data_dir: Path) -> None:
    data = read_task(data_dir, task("class", only={"fold": "2"}))
    assert {recording.labels["fold"] for recording in data.recordings} == {"2"}
    assert data.left_out == [{"what": f"{9 * EACH // 4} recordings", "reason": "not fold=2"}]
    with pytest.raises(UserError, match=r"has no recording with fold=7; mend task\.only"):
        read_task(data_dir, task("class", only={"fold": "7"}))


def test_only_the_parts_of_a_task_are_used(tmp_path: Path) -> None:
    rows = ["path\tspeaker\tpart"]
    for number, part in enumerate(("train-clean-100", "train-clean-100", "dev-clean", "")):
        (tmp_path / "audio").mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"audio/{number}.wav", tone(500, 0.3, 0.1, number), 16000)
        rows.append(f"{number}.wav\t{number}\t{part}")
    (tmp_path / "audio/metadata.tsv").write_text("\n".join(rows) + "\n")
    folder = write_manifests(tmp_path / "audio", tmp_path / "data")
    data = read_task(folder, task("speaker", parts=["train-clean-100"]))
    assert data.classes == ["0", "1"] and data.left_out == [
        {"what": "2 recordings", "reason": "not of train-clean-100"}
    ]
    with pytest.raises(UserError, match=r"no recording of part test-clean \(it has dev-clean, train-clean-100\)"):
        read_task(folder, task("speaker", parts=["dev-clean", "test-clean"]))


def test_a_column_that_does_not_exist_is_named_with_the_nearest(data_dir: Path) -> None:
    with pytest.raises(UserError, match=r"no column 'clas' .*did you mean 'class'\? .*mend task\.column"):
        read_task(data_dir, task("clas"))
    with pytest.raises(UserError, match=r"no column 'flod' .*did you mean 'fold'\? .*mend task\.fold_column"):
        read_task(data_dir, task("class", fold_column="flod"))


def test_only_the_default_column_of_groups_may_be_missing(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column 'speakr' .*did you mean 'speaker'\? .*mend task\.group_column"):
        read_task(data_dir, task("class", group_column="speakr"))
    with pytest.raises(UserError, match=r"no column 'folder' .*mend task\.group_column"):
        read_task(data_dir, task("class", group_column="folder"))
    audio = tmp_path / "audio"
    for number, name in enumerate(("bird", "none")):
        (audio / name).mkdir(parents=True)
        soundfile.write(audio / name / "a.wav", tone(500, 2.0, 0.1, number), 16000)
    assert read_task(write_manifests(audio, tmp_path / "data"), task("folder")).column("speaker") == ["", ""]


def test_the_manifest_of_a_folder_takes_short_clips_and_its_rejects_are_counted(tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    for number, name in enumerate(("bird", "none")):
        (audio / name).mkdir(parents=True)
        soundfile.write(audio / name / "short.wav", tone(500, 0.05, 0.1, number), 16000)
        soundfile.write(audio / name / "long.wav", tone(500, 2.0, 0.1, number, rate=44100), 44100)
    soundfile.write(audio / "bird/broken.wav", np.full(8000, np.nan, dtype=np.float32), 16000, subtype="FLOAT")
    soundfile.write(audio / "none/silent.wav", np.zeros(8000), 16000)
    given = LapeSettings(task("folder"), str(tmp_path / "out"), {}, corpus_dir=str(audio), workers=1)
    folder = data_folder(given)
    assert folder == tmp_path / "out/manifests/t" and not (folder / "valid.tsv").exists()
    data = read_task(folder, given.task)
    assert [recording.name for recording in data.recordings] == [
        "bird/long.wav",
        "bird/short.wav",
        "none/long.wav",
        "none/short.wav",
    ]
    reasons = {item["reason"].split(" (")[0] for item in data.left_out}
    assert reasons == {"not finite", "silent"}


def test_the_classes_of_a_table_of_ones_own_count_and_not_the_folders(tmp_path: Path) -> None:
    """The first recording of the folder `bird` is no bird."""
    audio, table = tmp_path / "audio", tmp_path / "labels.csv"
    kinds = {"bird/0.wav": "frog", "bird/1.wav": "bird", "frog/2.wav": "frog", "frog/3.wav": "frog", "4.wav": "toad, a"}
    for number, path in enumerate(kinds):
        (audio / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(audio / path, tone(500, 0.3, 0.1, number), 16000)
    lines = [f'{number},{path},"{kind}"' for number, (path, kind) in enumerate(kinds.items())]
    table.write_text("\n".join(["number,path,kind", *lines]) + "\n")
    out = str(tmp_path / "out")
    given = LapeSettings(task("kind", metadata=str(table)), out, {}, corpus_dir=str(audio), workers=1)
    data = read_task(data_folder(given), given.task)
    names = (recording.name for recording in data.recordings)
    assert data.classes == ["bird", "frog", "toad, a"] and data.left_out == []
    assert dict(zip(names, (data.classes[label] for label in data.labels), strict=True)) == kinds


def test_recordings_without_a_class_are_counted(tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    for number in range(4):
        soundfile.write(audio / f"{number}.wav", tone(500, 0.3, 0.1, number), 16000)
    (audio / "metadata.tsv").write_text("path\tkind\n0.wav\ta\n1.wav\tb\n2.wav\t\n")
    data = read_task(write_manifests(audio, tmp_path / "data"), task("kind"))
    assert data.classes == ["a", "b"] and data.left_out == [{"what": "2 recordings", "reason": "no kind known"}]


def test_where_there_is_a_column_named_folder_no_directory_is_a_class(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / "audio/inside").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / f"audio/inside/{number}.wav", tone(500, 0.3, 0.1, number), 16000)
    rows = ["path\tfolder\tkept", "inside/0.wav\ta\ty", "inside/1.wav\tb\ty", "inside/2.wav\t\ty", "inside/3.wav\t\tn"]
    (tmp_path / "audio/metadata.tsv").write_text("\n".join(rows) + "\n")
    folder = write_manifests(tmp_path / "audio", tmp_path / "data")
    data = read_task(folder, task("folder"))
    assert data.classes == ["a", "b"] and data.left_out == [{"what": "2 recordings", "reason": "no folder known"}]
    with pytest.raises(UserError, match=r"has no column 'folder' with a value"):
        read_task(folder, task("folder", only={"kept": "n"}))


def test_one_class_is_too_few(data_dir: Path) -> None:
    with pytest.raises(UserError, match=r"has 1 class in column fold: task\.column must tell two or more"):
        read_task(data_dir, task("fold", only={"fold": "1"}))
