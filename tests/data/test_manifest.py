import pytest

from speechssl.data.manifest import Paths, read_manifest, write_manifest
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


def test_paths_are_a_sequence_of_their_names():
    names = ["a/1.wav", "ä/2.wav", "", "日本.flac", "a/1.wav"]
    paths = Paths(iter(names))
    assert list(paths) == names and len(paths) == 5
    assert [paths[place] for place in range(-5, 5)] == names + names
    assert paths[1:4] == names[1:4] and paths[::-2] == names[::-2]
    assert paths.index("日本.flac") == 3 and "ä/3.wav" not in paths
    for outside in (5, -6):
        with pytest.raises(IndexError):
            paths[outside]


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
