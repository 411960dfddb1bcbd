"""Trials and segments of the official corpora reach their problems."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechssl.errors import UserError
from speechssl.evaluation.superb.beside import Beside
from speechssl.evaluation.superb.problems.diarization import Diarization
from speechssl.evaluation.superb.problems.verification import SpeakerVerification
from speechssl.evaluation.superb.reading import read_data
from speechssl.evaluation.superb.settings import SuperbSettings
from tests.evaluation.superb.fake_corpora import text, write_libri2mix, write_trials


def settings(task: str, folder: Path) -> SuperbSettings:
    return SuperbSettings(task=task, corpus_dir=str(folder), out_dir="out", encoders={"one": "two"})


def test_trials_of_voxceleb1(tmp_path: Path):
    root = write_trials(tmp_path / "VoxCeleb1")
    (data,) = read_data(settings("asv", tmp_path))
    problem = SpeakerVerification(data, ["label"])
    assert problem.facts()["notes"] == [f"trials: valid {len(data.beside['valid'])}, test {len(data.beside['test'])}"]
    lines = (root / "veri_test2.txt").read_text().splitlines()
    text(root / "veri_test2.txt", *lines, lines[0].replace("1 ", "7 ", 1))
    (data,) = read_data(settings("asv", tmp_path))
    with pytest.raises(UserError, match=rf"VoxCeleb1.*test, number {len(lines) + 1} beside it: the label '7'"):
        SpeakerVerification(data, ["label"])


def test_segments_of_libri2mix(tmp_path: Path):
    write_libri2mix(tmp_path / "Libri2Mix")
    (data,) = read_data(settings("sd", tmp_path))
    chunks = Diarization(data, ()).pieces("test", data.parts["test"], 100.0)
    assert len(chunks) == len(data.parts["test"]) and all(chunk.targets.sum() > 0 for chunk in chunks)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["label,first,second", "", "1,a,b", "0,a,b,c"], r"1 bad lines: line 4 \(0, a\) has 4 cells, not 3"),
        (["label,first,second", '1,a,"b', "0,a,c"], r"test_trials\.csv, line 2: no row of cells begins here"),
        (["label,first,first,second", "1,a,b,c"], r"test_trials\.csv has the column 'first' more than once"),
        (["label,first", "1,a"], r"test_trials\.csv has no column 'second'"),
    ],
)
def test_a_broken_table_of_trials(tmp_path: Path, lines: list[str], message: str):
    text(tmp_path / "test_trials.csv", *lines)
    with pytest.raises(UserError, match=message):
        Beside("trials", ("label", "first", "second"), ("test",)).read(tmp_path)


def test_a_line_beside_is_named_by_its_number(tmp_path: Path):
    text(tmp_path / "test_trials.csv", "label,first,second", "", '1,"a', '",b', "0,a,b")
    lines = Beside("trials", ("label", "first", "second"), ("test",)).read(tmp_path)["test"]
    assert [line.place.rpartition(" ")[2] for line in lines] == ["3", "5"]
