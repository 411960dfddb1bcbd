from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from speechssl.data.manifest import read_manifest, write_manifest
from speechssl.errors import UserError


def test_fairseq_s_own_file_is_read(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("/corpora/LibriSpeech\n84/a.flac\t174000\n84/b c.flac\t32001\n")
    manifest = read_manifest(path)
    assert list(manifest.paths) == ["84/a.flac", "84/b c.flac"]
    assert manifest.samples.tolist() == [174000, 32001]
    assert manifest.samples.dtype == "int64"
    assert str(manifest.audio_path(1)) == "/corpora/LibriSpeech/84/b c.flac"
    assert len(manifest) == 2


def test_written_as_fairseq_reads_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_manifest("train.tsv", "audio", [("a.wav", 16000), ("ä  b.wav", 5)])
    assert (tmp_path / "train.tsv").read_text(encoding="utf-8") == f"{tmp_path}/audio\na.wav\t16000\nä  b.wav\t5\n"
    assert read_manifest("train.tsv").paths[1] == "ä  b.wav"


def written(folder, names):
    write_manifest(folder / "names.tsv", folder, [(name, 100 + number) for number, name in enumerate(names)])
    return read_manifest(folder / "names.tsv")


def test_paths_are_a_sequence_of_their_names(tmp_path):
    names = ["a/1.wav", "ä/2.wav", "b", "日本.flac", "a/1.wav"]
    paths = written(tmp_path, names).paths
    assert list(paths) == names and len(paths) == 5
    assert [paths[place] for place in range(-5, 5)] == names + names
    assert paths[1:4] == names[1:4] and paths[::-2] == names[::-2]
    assert paths.index("日本.flac") == 3 and "ä/3.wav" not in paths
    for outside in (5, -6):
        with pytest.raises(IndexError):
            paths[outside]


def test_a_manifest_that_is_replaced_later_changes_nothing(tmp_path):
    before = written(tmp_path, ["a.wav", "b.wav"])
    written(tmp_path, ["other.wav", "c.wav", "d.wav"])
    assert list(before.paths) == ["a.wav", "b.wav"]


def test_a_manifest_that_is_cut_while_it_is_read_is_told(tmp_path):
    manifest = written(tmp_path, ["a.wav", "b.wav"])
    with open(tmp_path / "names.tsv", "r+") as file:
        file.truncate(5)
    with pytest.raises(UserError, match=r"names\.tsv has changed while it was read"):
        manifest.paths[1]


def test_threads_read_paths_side_by_side(tmp_path):
    names = [f"folder/{number}.wav" for number in range(5000)]
    paths = written(tmp_path, names).paths
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(paths.__getitem__, range(5000))) == names


def test_the_file_is_closed_when_nobody_needs_it(tmp_path):
    open_files = Path("/proc/self/fd")
    before = len(list(open_files.iterdir()))
    manifest = written(tmp_path, ["a.wav"])
    assert len(list(open_files.iterdir())) == before + 1
    del manifest
    assert len(list(open_files.iterdir())) == before


def test_line_ends_of_windows(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"/corpora\r\na.wav\t5\r\nb.wav\t6\r\n")
    manifest = read_manifest(tmp_path / "a.tsv")
    assert manifest.root == Path("/corpora") and list(manifest.paths) == ["a.wav", "b.wav"]
    assert manifest.samples.tolist() == [5, 6]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("a.wav\t100\nb.wav", "line 3"),
        ("a.wav\t100\textra", "line 2"),
        ("a.wav\tmany", "line 2"),
        ("a.wav\t-5", "line 2"),
        ("../a.wav\t100", "line 2.*inside"),
        ("x/../../a.wav\t100", "line 2.*inside"),
        ("/etc/a.wav\t100", "line 2.*inside"),
        ("", "no audio file"),
    ],
)
def test_bad_lines_are_named(tmp_path, lines, message):
    path = tmp_path / "train.tsv"
    path.write_text(f"/root\n{lines}\n" if lines else "/root\n")
    with pytest.raises(UserError, match=message):
        read_manifest(path)


@pytest.mark.parametrize("content", [b"/\xff\na.wav\t1\n", b"/root\na.wav\t1\n\xe9.wav\t1\n"])
def test_a_file_that_is_no_text_is_named(tmp_path, content):
    (tmp_path / "train.tsv").write_bytes(content)
    with pytest.raises(UserError, match=r"train\.tsv is not UTF-8 text"):
        read_manifest(tmp_path / "train.tsv")


def test_missing_file_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(UserError, match="speechssl manifest"):
        read_manifest(tmp_path / "train.tsv")


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "train.tsv"
    write_manifest(path, "/old", [("a.wav", 1)])

    def entries():
        yield "b.wav", 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_manifest(path, "/new", entries())
    assert path.read_text() == "/old\na.wav\t1\n"
    assert list(tmp_path.iterdir()) == [path]
