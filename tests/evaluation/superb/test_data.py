from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.audio import read_audio
from speechssl.errors import UserError
from speechssl.evaluation.superb.data import read_task
from speechssl.evaluation.superb.paths import RealPaths
from speechssl.evaluation.superb.problems.transcription import PhoneRecognition, SpeechRecognition
from tests.evaluation.superb.conftest import write_csv, write_task


def rows_of(folder: Path, part: str = "test") -> list[dict[str, str]]:
    with open(folder / f"{part}.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def test_labels_and_lengths(task_dir: Path):
    data = read_task(task_dir, ["label"])
    assert {part: len(found) for part, found in data.parts.items()} == {"train": 24, "valid": 9, "test": 9}
    first = data.parts["test"][0]
    assert first.name == "test0" and first.audio == task_dir / "test-0.wav"
    assert first.samples == soundfile.info(first.audio).frames
    assert first.labels["label"] == "a" and first.labels["gender"] == "m" and "path" not in first.labels


def test_a_stretch_is_cut_out(tmp_path: Path):
    folder = write_task(tmp_path)
    rows = [{**row, "start": "0.1", "end": "0.25"} for row in rows_of(folder)]
    write_csv(folder / "test.csv", rows, (*rows[0],))
    utterance = read_task(folder, ["label"]).parts["test"][0]
    assert utterance.samples == 2400
    torch.testing.assert_close(utterance.read(), read_audio(utterance.audio)[1600:4000])


def test_gain_clips_as_sox_does(task_dir: Path):
    utterance = read_task(task_dir, ["label"]).parts["test"][0]
    quiet, loud = utterance.read(0.5), utterance.read(100.0)
    torch.testing.assert_close(quiet, 0.5 * utterance.read())
    assert loud.abs().max() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(label=""), r"line 4 \(id test2, test-2\.wav\) has no label"),
        (lambda row: row.update(id="test0"), r"line 4 \(id test0, test-2\.wav\) is there again"),
        (lambda row: row.update(path="gone.wav"), r"test2 \(.*gone\.wav\): no such file"),
        (lambda row: row.update(path="x" * 300), r"test2 \(.*xxx\): no such file"),
        (lambda row: row.update(path="~nouser/a.wav"), r"test2 \(.*~nouser/a\.wav\): no such file"),
        (lambda row: row.update(id=" test0 "), r"line 4 \(id  test0 , test-2\.wav\) is there again"),
        (lambda row: row.update(end="3.5"), r"test2 \(.*\): ends at 3\.5 s, but its file at 0\.\d+ s"),
        (lambda row: row.update(path="test.csv"), r"test2 \(.*test\.csv\): cannot be decoded"),
        (lambda row: row.update(end="inf"), r"test2 \(.*\): start and end must be seconds from 0 on, not inf"),
        (lambda row: row.update(end="nan"), r"test2 \(.*\): start and end must be seconds from 0 on, not nan"),
        (lambda row: row.update(start="-0.5"), r"test2 \(.*\): start and end must be seconds from 0 on, not -0\.5"),
        (lambda row: row.update(start="0.2", end="0.1"), r"test2 \(.*\): no audio between start and end"),
        (lambda row: row.update(path="cut.wav"), r"test2 \(.*cut\.wav\): cut off: 1956 of 16000 bytes of sound are"),
    ],
)
def test_bad_lines_are_counted_and_named(tmp_path: Path, change, message: str):
    folder = write_task(tmp_path)
    soundfile.write(folder / "cut.wav", np.ones(8000), 16000)
    (folder / "cut.wav").write_bytes((folder / "cut.wav").read_bytes()[:2000])
    rows = rows_of(folder)
    change(rows[2])
    write_csv(folder / "test.csv", rows, tuple(rows[2]))
    with pytest.raises(UserError, match=rf"test\.csv: 1 bad lines: {message}"):
        read_task(folder, ["label"])


def test_a_missing_file_and_a_missing_column(tmp_path: Path):
    folder = write_task(tmp_path)
    with pytest.raises(UserError, match="has no column 'lbel'; did you mean 'label'"):
        read_task(folder, ["lbel"])
    (folder / "valid.csv").unlink()
    with pytest.raises(UserError, match=r"valid\.csv is missing"):
        read_task(folder, ["label"])
    with pytest.raises(UserError, match="does not exist"):
        read_task(folder / "none", ["label"])


def test_a_table_that_is_not_utf8(tmp_path: Path):
    folder = write_task(tmp_path)
    (folder / "test.csv").write_bytes("id,path,label\né,test-0.wav,a\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"test\.csv is not UTF-8 text"):
        read_task(folder, ["label"])


def test_values_that_are_not_finite_and_two_channels(tmp_path: Path):
    folder = write_task(tmp_path)
    wave = np.full((8000, 2), 0.25, dtype=np.float32)
    wave[:, 1] = 0.75
    soundfile.write(folder / "test-0.wav", wave, 8000, subtype="FLOAT")
    wave[100] = np.nan
    soundfile.write(folder / "test-1.wav", wave, 8000, subtype="FLOAT")
    stereo, broken = read_task(folder, ["label"]).parts["test"][:2]
    assert stereo.samples == 16000 and stereo.read()[8000] == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(UserError, match=r"test-1\.wav \(utterance test1\): not finite: holds NaN"):
        broken.read()


def test_what_is_unusual_is_remarked(tmp_path: Path):
    folder = write_task(tmp_path)
    tone = 0.1 * np.sin(np.arange(8000))
    soundfile.write(folder / "test-0.wav", np.stack([tone, tone], axis=1), 16000)
    soundfile.write(folder / "test-1.wav", tone, 8000)
    soundfile.write(folder / "valid-2.wav", np.zeros((8000, 2)), 8000)
    first, second, silent = (str(folder / name) for name in ("test-0.wav", "test-1.wav", "valid-2.wav"))
    assert read_task(folder, ["label"]).remarks() == {
        "channels": {"valid": {"valid2": silent}, "test": {"test0": first}},
        "rate": {"valid": {"valid2": silent}, "test": {"test1": second}},
        "silent": {"valid": {"valid2": silent}},
    }


def test_only_a_silent_stretch_is_silent(tmp_path: Path):
    folder = write_task(tmp_path)
    soundfile.write(folder / "test-0.wav", np.concatenate([0.1 * np.ones(4000), np.zeros(8000)]), 16000)
    spans = [("0", "0.5"), ("0.25", "0.75"), ("0.25", "")]
    rows = [{**row, "path": "test-0.wav"} for row in rows_of(folder)[: len(spans)]]
    rows = [{**row, "start": start, "end": end} for row, (start, end) in zip(rows, spans, strict=True)]
    write_csv(folder / "test.csv", rows, (*rows[0],))
    assert list(read_task(folder, ["label"]).remarks()["silent"]["test"]) == ["test1", "test2"]


HEADER = "id,path,transcription"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [HEADER, "a,test-0.wav,HELLO, WORLD", "", "b,test-1.wav"],
            r"test\.csv: 2 bad lines: line 2 \(a, test-0\.wav\) has 4 cells, not 3; line 4 \(b, .*\) has 2 cells",
        ),
        ([HEADER, "a,test-0.wav,X", 'b,test-1.wav,"Y', "c,test-2.wav,Z"], r"test\.csv, line 3: no row of cells begins"),
        ([f"{HEADER},transcription", "a,test-0.wav,X,Y"], r"test\.csv has the column 'transcription' more than once"),
        (
            [HEADER, "", 'a,test-0.wav,"X', 'Z"', "", "b,test-1.wav, "],
            r"1 bad lines: line 6 \(id b, .*\) has no",
        ),
    ],
)
def test_a_broken_table_is_refused_by_the_number_of_the_line(tmp_path: Path, lines: list[str], message: str):
    folder = write_task(tmp_path)
    (folder / "test.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=message):
        read_task(folder, ["transcription"])


def test_an_end_may_be_rounded_and_names_lose_their_spaces(tmp_path: Path):
    folder = write_task(tmp_path)
    rows = rows_of(folder)
    seconds = soundfile.info(folder / "test-0.wav").duration
    rows[0].update(id=" test0 ", path=" test-0.wav ", start="", end=str(seconds + 0.05))
    write_csv(folder / "test.csv", [{"start": "", "end": "", **row} for row in rows], (*rows[0],))
    utterance = read_task(folder, ["label"]).parts["test"][0]
    assert utterance.name == "test0" and utterance.audio == folder / "test-0.wav"
    assert utterance.samples == soundfile.info(folder / "test-0.wav").frames


def test_the_order_of_lines_changes_nothing(tmp_path: Path):
    folder = write_task(tmp_path)
    before = read_task(folder, ["label"])
    rows = rows_of(folder, "train")
    write_csv(folder / "train.csv", rows[::-1])
    after = read_task(folder, ["label"])
    assert after.parts == before.parts and after.fingerprint(()) == before.fingerprint(())


def test_only_stretches_of_test_that_overlap_with_the_others_are_shared(tmp_path: Path):
    folder = write_task(tmp_path)
    columns = ("id", "path", "label", "start", "end")

    def write(part: str, *rows: tuple[str, str, str]) -> None:
        of_part = [(f"{part}{number}", path, "a", start, end) for number, (path, start, end) in enumerate(rows)]
        write_csv(folder / f"{part}.csv", [dict(zip(columns, row, strict=True)) for row in of_part], columns)

    write("train", ("train-0.wav", "0", "0.2"), ("train-1.wav", "", ""))
    write("valid", ("train-1.wav", "", ""), ("valid-1.wav", "0.2", ""))
    tested = [("train-0.wav", "0.2", "0.4"), ("train-0.wav", "0.1", "0.4"), ("./valid-1.wav", "", "")]
    write("test", *tested, ("test-0.wav", "", ""))
    for sample in (None, 1):
        remarks = read_task(folder, ["label"], sample=sample).remarks()
        assert {part: list(names) for part, names in remarks["shared"].items()} == {"test": ["test1", "test2"]}


def test_words_are_separated_by_single_spaces_and_recordings_keep_their_names(tmp_path: Path):
    """s3prl's scores split at every single space."""
    folder = write_task(tmp_path)
    spaced = {"transcription": "ab\t a", "phones": " a  b", "clean": "two  spaces.wav"}
    for part in ("train", "valid", "test"):
        rows = [{**row, **spaced} for row in rows_of(folder, part)]
        write_csv(folder / f"{part}.csv", rows, (*rows[0],))
    data = read_task(folder, ["transcription"], recordings=["clean"])
    first = data.parts["test"][:1]
    assert {name: first[0].labels[name] for name in spaced} == {**spaced, "transcription": "ab a", "phones": "a b"}
    assert SpeechRecognition(data, ["transcription"]).scores(["ab a"], first)["wer"] == 0
    problem = PhoneRecognition(data, ["phones"])
    assert problem.scores(["a b"], first)["per"] == 0 and problem.facts()["tokens"] == 3 + 2


@pytest.mark.parametrize(("phones", "published"), [("AH0 B SIL", True), ("AH B SIL", False), ("ah0 b sil", False)])
def test_phones_are_those_of_published_scores_where_vowels_have_stress(tmp_path: Path, phones: str, published: bool):
    folder = write_task(tmp_path)
    for part in ("train", "valid", "test"):
        rows = [{**row, "phones": phones} for row in rows_of(folder, part)]
        write_csv(folder / f"{part}.csv", rows, (*rows[0],))
    problem = PhoneRecognition(read_task(folder, ["phones"]), ["phones"])
    assert problem.facts()["published_phones"] is published


def test_recordings_are_looked_at_once_however_many_encoders_ask(task_dir: Path, monkeypatch):
    looked, stat, division = [], os.stat, read_task(task_dir, ["label"])
    monkeypatch.setattr(os, "stat", lambda path, **given: (looked.append(str(path)), stat(path, **given))[1])
    known = division.fingerprint([])
    assert sorted(looked) == sorted(str(item.audio) for part in division.parts.values() for item in part)
    assert division.fingerprint([]) == known and len(looked) == 42
    # What is made of it is another task, and looked at anew.
    assert replace(division, fold="one").fingerprint([]) != known and len(looked) == 84


def test_files_are_found_behind_links_of_their_own_and_of_their_folders(tmp_path: Path, monkeypatch):
    (tmp_path / "real/deep").mkdir(parents=True)
    for name in ("a.wav", "b.wav"):
        (tmp_path / "real/deep" / name).touch()
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "real/deep/link.wav").symlink_to("a.wav")
    files = [tmp_path / "folder/deep" / name for name in ("a.wav", "link.wav", "b.wav", "lost.wav")]
    expected = [os.path.realpath(file) for file in files]
    assert expected[0] == expected[1] == str(tmp_path / "real/deep/a.wav")
    real_path = RealPaths()
    assert [real_path(file) for file in files] == expected
    looked, lstat = [], os.lstat
    monkeypatch.setattr(os, "lstat", lambda path: (looked.append(path), lstat(path))[1])
    assert real_path(files[2]) == expected[2] and len(looked) == 1
