"""The recordings of a data folder: what is read of them, and what is in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechssl.evaluation.recordings import read_recordings, unwatched_recordings

HEADER = "path\tsplit\tseconds\tspeaker\tdevice\n"


def write_folder(folder: Path, count: int) -> Path:
    (folder / "train.tsv").write_text("/audio\n" + "".join(f"{n}.wav\t16000\n" for n in range(count)))
    rows = "".join(f"{n}.wav\ttrain\t1.0\tspeaker{n % 2}\t{'' if n else 'phone'}\n" for n in range(count))
    (folder / "metadata.tsv").write_text(HEADER + rows)
    return folder


def test_a_cell_that_many_rows_have_is_in_memory_once(tmp_path: Path) -> None:
    found = read_recordings(write_folder(tmp_path, 4))
    assert [item.labels for item in found[:2]] == [{"speaker": "speaker0", "device": "phone"}, {"speaker": "speaker1"}]
    assert found[0].labels["speaker"] is found[2].labels["speaker"]
    assert found[3].audio == Path("/audio/3.wav") and found[3].root is found[0].root


def test_recordings_of_one_name_are_in_order_of_their_files(tmp_path: Path) -> None:
    for split, root in (("train", "/a"), ("valid", "/a-b")):
        (tmp_path / f"{split}.tsv").write_text(f"{root}\n1.wav\t16000\n")
    # A hyphen comes before a slash.
    assert [str(item.audio) for item in read_recordings(tmp_path)] == ["/a-b/1.wav", "/a/1.wav"]


def test_recordings_are_looked_at_only_where_no_file_changes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, 2)
    assert list(unwatched_recordings(tmp_path)) == [Path("/audio/0.wav"), Path("/audio/1.wav")]
    (tmp_path / "audio.json").write_text("{}")
    monkeypatch.setattr("speechssl.evaluation.recordings.read_recordings", lambda folder: pytest.fail("read twice"))
    assert not list(unwatched_recordings(tmp_path))
