import json
import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import soundfile

from speechssl.audio import read_audio
from speechssl.data import fingerprint
from speechssl.data.corpora import CorpusSettings, open_corpus
from speechssl.data.listing import ManifestSettings, make_manifests
from speechssl.data.manifest import AUDIO, read_manifest
from speechssl.data.metadata import read_metadata
from speechssl.data.tables import read_table
from speechssl.errors import UserError
from speechssl.units.fit import KMeansSettings, kmeans_inputs
from speechssl.units.label import LabelSettings, label_inputs


def run(audio, out, **settings):
    corpus = CorpusSettings(name="folder", audio_dir=str(audio), metadata=settings.pop("metadata", ""))
    make_manifests(ManifestSettings(corpus=corpus, out=str(out), **settings))


def rejected(out):
    return {row["path"]: row["reason"] for row in read_table(out / "rejected.tsv", ["path", "reason"])}


@pytest.fixture
def audio(tmp_path, write_noise):
    """Twelve recordings by twelve speakers, each of another length."""
    folder = tmp_path / "audio"
    for n in range(12):
        write_noise(folder / f"s{n}/a.wav", seconds=0.5 + n / 100, seed=n)
    rows = [f"s{n}/a.wav\t{n}.0\tspeaker{n}\tword {n}" for n in range(12)]
    (folder / "metadata.tsv").write_text("\n".join(["path\tdur\tspeaker\ttext", *rows]) + "\n")
    return folder


def test_manifests_count_the_samples_that_reading_gives(audio, tmp_path, capsys):
    run(audio, tmp_path / "out")
    splits = {name: read_manifest(tmp_path / f"out/{name}.tsv") for name in ("train", "valid")}
    assert sum(map(len, splits.values())) == 12
    metadata = read_metadata(tmp_path / "out/metadata.tsv")
    for name, manifest in splits.items():
        for n, path in enumerate(manifest.paths):
            assert len(read_audio(manifest.audio_path(n))) == manifest.samples[n]
            number = path.split("/")[0][1:]
            assert metadata[path] == {
                "path": path,
                "split": name,
                "seconds": f"{0.5 + int(number) / 100:.3f}",
                "speaker": f"speaker{number}",
                "text": f"word {number}",
            }
    said = capsys.readouterr().out
    assert "12 files, 0.00 h (train 11 files" in said
    assert said.splitlines()[-1] == "manifest: labels: speaker 12 of 12, text 12 of 12"


def test_bad_files_are_listed_and_the_run_goes_on(audio, tmp_path, write_noise, capsys):
    soundfile.write(audio / "empty.wav", np.zeros(0), 8000)
    soundfile.write(audio / "silent.flac", np.zeros(8000), 8000)
    soundfile.write(audio / "nan.wav", np.full(8000, np.nan), 8000, subtype="FLOAT")
    write_noise(audio / "short.wav", seconds=0.05)
    write_noise(audio / "tab\tin name.wav")
    cut = audio / "cut.wav"
    write_noise(cut)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (audio / "text.mp3").write_text("not audio")
    (audio / "talk.m4a").touch()
    with open(bytes(audio) + b"/latin\xe9.wav", "wb") as file:
        file.write((audio / "s0/a.wav").read_bytes())
    with open(audio / "metadata.tsv", "a") as file:
        file.writelines(f"{path}\t1\tx\ty\n" for path in ("gone.wav", "../outside.wav", "/etc/passwd.wav"))
    run(audio, tmp_path / "out")
    reasons = rejected(tmp_path / "out")
    expected = {
        "empty.wav": "empty",
        "silent.flac": "silent",
        "nan.wav": "not finite",
        "short.wav": "too short",
        "tab in name.wav": "tab",
        "cut.wav": "cut off: 3978 of 8000 bytes of sound are there",
        "text.mp3": "cannot be decoded",
        "talk.m4a": "convert",
        "latin\\udce9.wav": "UTF-8",
        "gone.wav": "no such file",
        "../outside.wav": "leaves the folder",
        "/etc/passwd.wav": "is absolute: give it relative to the folder",
    }
    assert reasons.keys() == expected.keys()
    assert all(expected[path] in reason for path, reason in reasons.items())
    assert len(read_metadata(tmp_path / "out/metadata.tsv")) == 12
    said = capsys.readouterr().out
    assert f"12 rejected, listed in {tmp_path}/out/rejected.tsv" in said
    assert "manifest: 1 rejected: in metadata.tsv, but the path leaves the folder\n" in said
    assert "manifest: 1 rejected: in metadata.tsv, but there is no such file\n" in said


def test_the_last_line_says_which_labels_there_are_and_how_many_recordings_have_them(audio, tmp_path, capsys):
    table = tmp_path / "labels.tsv"
    table.write_text("path\tspecies\tsite\n" + "".join(f"s{n}/a.wav\t{'dog' if n else ''}\t\n" for n in range(12)))
    run(audio, tmp_path / "out", metadata=str(table))
    assert capsys.readouterr().out.splitlines()[-1] == "manifest: labels: species 11 of 12, site 0 of 12"


def test_without_a_table_the_folder_is_the_label(audio, tmp_path, write_noise, capsys):
    (audio / "metadata.tsv").unlink()
    (audio / "notes.txt").touch()
    write_noise(audio / "s0/deeper/b.wav")
    run(audio, tmp_path / "out")
    metadata = read_metadata(tmp_path / "out/metadata.tsv")
    assert {path: row["folder"] for path, row in metadata.items()} == {path: path.split("/")[-2] for path in metadata}
    assert capsys.readouterr().out.splitlines()[-1] == "manifest: labels: folder 13 of 13"
    write_noise(audio / "loose.wav")  # then folders are no classes
    run(audio, tmp_path / "out")
    assert list(read_metadata(tmp_path / "out/metadata.tsv")["loose.wav"]) == ["path", "split", "seconds"]
    assert capsys.readouterr().out.splitlines()[-1] == "manifest: labels: none"


def test_a_corpus_with_nothing_left_says_so_and_still_lists_why(tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    with pytest.raises(UserError, match="no audio file below"):
        run(audio, tmp_path / "out")
    for n in range(3):
        soundfile.write(audio / f"{n}.wav", np.zeros(8000), 8000)
    with pytest.raises(UserError, match=r"none of the 3 audio files .* \(3 of them: silent\)"):
        run(audio, tmp_path / "out")
    assert len(rejected(tmp_path / "out")) == 3
    assert not (tmp_path / "out/train.tsv").exists()


def test_one_usable_file_cannot_be_split(tmp_path, write_noise):
    write_noise(tmp_path / "audio/a.wav")
    with pytest.raises(UserError, match="only one"):
        run(tmp_path / "audio", tmp_path / "out")
    run(tmp_path / "audio", tmp_path / "out", valid_fraction=0.0)
    assert list(read_manifest(tmp_path / "out/train.tsv").paths) == ["a.wav"]


def test_splits_of_the_table_are_honoured(audio, tmp_path):
    sides = ["train-clean", "", "dev", "Test", "train", "validation"] * 2
    rows = [f"s{n}/a.wav\t{side}" for n, side in enumerate(sides)]
    table = tmp_path / "labels.tsv"
    table.write_text("\n".join(["path\tsplit", *rows]) + "\n")
    run(audio, tmp_path / "out", metadata=str(table))
    paths = {name: set(read_manifest(tmp_path / f"out/{name}.tsv").paths) for name in ("train", "valid", "Test")}
    assert paths["valid"] == {"s2/a.wav", "s5/a.wav", "s8/a.wav", "s11/a.wav"}
    assert paths["Test"] == {"s3/a.wav", "s9/a.wav"}
    assert len(paths["train"]) == 6


def test_valid_is_held_out_of_train_but_never_of_test(audio, tmp_path):
    rows = [f"s{n}/a.wav\t{'test' if n < 6 else 'train'}" for n in range(12)]
    (audio / "metadata.tsv").write_text("\n".join(["path\tsplit", *rows]) + "\n")
    run(audio, tmp_path / "out", valid_fraction=0.3)
    assert list(read_manifest(tmp_path / "out/test.tsv").paths) == sorted(f"s{n}/a.wav" for n in range(6))
    assert len(read_manifest(tmp_path / "out/valid.tsv")) + len(read_manifest(tmp_path / "out/train.tsv")) == 6


@pytest.mark.parametrize(("min_speakers", "by"), [(10, "speaker"), (13, "recording")])
def test_of_a_large_corpus_valid_hours_are_held_out_at_most(audio, tmp_path, capsys, min_speakers, by):
    rest = {"valid_fraction": 0.5, "min_speakers": min_speakers}
    run(audio, tmp_path / "half", **rest)
    said = capsys.readouterr().out
    assert "valid_hours" not in said
    run(audio, tmp_path / "limited", valid_hours=1.2 / 3600, **rest)
    said = capsys.readouterr().out
    assert f"held out by {by}, as valid_hours=0.000333333 is less than valid_fraction=0.5)" in said
    half, limited = (read_manifest(tmp_path / out / "valid.tsv") for out in ("half", "limited"))
    assert half.samples.sum() > 2 * 16_000
    assert 0 < limited.samples.sum() < 1.8 * 16_000
    assert set(limited.paths) < set(half.paths)
    with pytest.raises(UserError, match="valid_hours=0"):
        run(audio, tmp_path / "none", valid_hours=0.0)


def test_a_fraction_beside_the_corpus_s_own_valid_is_said(audio, tmp_path, capsys):
    (audio / "metadata.tsv").write_text("path\tsplit\ns0/a.wav\tvalid\n")
    for given, said in (({}, False), ({"valid_fraction": 0.2}, True)):
        run(audio, tmp_path / "out", **given)
        told = "; valid is the corpus's own, so valid_fraction=0.2 is not read)"
        assert (told in capsys.readouterr().out) == said


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path\tsplit\ns0/a.wav\t../../x\n", "line 2.*file name"),
        ("path\tsplit\ns0/a.wav\tmetadata\n", "line 2.*same name"),
        ("path\nS\ns0/a.wav\n./s0/a.wav\n", "line 4.*second time"),
    ],
)
def test_a_bad_table_of_labels_stops_the_run(audio, tmp_path, table, message):
    (audio / "metadata.tsv").write_text(table)
    with pytest.raises(UserError, match=message):
        run(audio, tmp_path / "out")


def test_phone_times_of_usable_recordings_are_kept(audio, tmp_path):
    header = "path\tstart\tend\tphone\n"
    kept, dropped = "s1/a.wav\t0.000000\t0.250000\ta\n", "gone.wav\t0.000000\t1.000000\tb\n"
    (audio / "alignments.tsv").write_text(header + kept + dropped)
    run(audio, tmp_path / "out")
    assert (tmp_path / "out/alignments.tsv").read_text() == header + kept


def test_phone_times_find_their_recordings_or_are_listed(audio, tmp_path):
    (audio / "alignments.tsv").write_text("path\tstart\tend\tphone\n./s1/a.wav\t0\t1\ta\ngone.wav\t0\t1\tb\n")
    run(audio, tmp_path / "out")
    assert (tmp_path / "out/alignments.tsv").read_text().splitlines()[1:] == ["s1/a.wav\t0.000000\t1.000000\ta"]
    assert rejected(tmp_path / "out")["gone.wav"] == "in alignments.tsv, but there is no such file"


def test_tables_of_the_user_are_never_replaced(audio, tmp_path, write_noise):
    mine = (audio / "metadata.tsv").read_text()
    with pytest.raises(UserError, match="holds the audio or its"):
        run(audio, audio)
    table = tmp_path / "tables" / "labels.tsv"
    table.parent.mkdir()
    table.write_text(mine)
    with pytest.raises(UserError, match="holds the audio or its"):
        run(audio, table.parent, metadata=str(table))
    assert (audio / "metadata.tsv").read_text() == mine
    out = tmp_path / "out"
    run(audio, out)
    (out / "alignments.tsv").write_text("path\tstart\tend\tphone\ns1/a.wav\t0\t1\ta\n")
    write_noise(audio / "s12/a.wav")
    run(audio, out)
    assert "s1/a.wav" in (out / "alignments.tsv").read_text()


def test_done_once_and_again_when_something_changes(audio, tmp_path, write_noise, capsys):
    out = tmp_path / "out"
    (audio / "alignments.tsv").write_text("path\tstart\tend\tphone\ns1/a.wav\t0\t1\ta\n")
    run(audio, out)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()}
    run(audio, out, workers=3)
    assert "done before and unchanged" in capsys.readouterr().out
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.iterdir()} == before
    (audio / "alignments.tsv").unlink()
    write_noise(audio / "s0/b.wav")
    run(audio, out)
    assert len(read_metadata(out / "metadata.tsv")) == 13
    assert not (out / "alignments.tsv").exists()  # of the run before
    (out / "valid.tsv").unlink()
    run(audio, out)
    assert (out / "valid.tsv").is_file()
    run(audio, out, seed=3)
    assert json.loads((out / "manifest.json").read_text())["splits"]["valid"]["files"] == 1
    assert "done before" not in capsys.readouterr().out


def test_a_command_that_was_killed_leaves_no_split_of_the_one_before(audio, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run(audio, out, valid_fraction=0.3)
    assert (out / "valid.tsv").is_file()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("speechssl.data.listing._inspect_all", Mock(side_effect=KeyboardInterrupt))
        run(audio, out, valid_fraction=0)
    run(audio, out, valid_fraction=0)
    assert len(read_manifest(out / "train.tsv")) == 12 and not (out / "valid.tsv").exists()


def test_one_speaker_cannot_be_held_out(audio, tmp_path):
    with pytest.raises(UserError, match="min_speakers=1 must be 2 or more"):
        run(audio, tmp_path / "out", min_speakers=1)


def test_many_files_are_asked_for_their_sizes_at_once_and_the_fingerprint_is_that_of_one_by_one(audio, monkeypatch):
    (audio / "s3" / "a.wav").unlink()
    corpus = open_corpus(CorpusSettings(name="folder", audio_dir=str(audio)))
    monkeypatch.setattr(fingerprint, "_STATUS_THREADS", 1)
    alone = fingerprint.fingerprint_of({}, corpus)
    assert alone.entries == 12
    together = threading.Barrier(3, timeout=20)

    def stat(path):
        if path.parent.name in ("s0", "s1", "s2"):
            together.wait()
        return os.stat(path)

    monkeypatch.setattr(fingerprint, "_STATUS_THREADS", 4)
    monkeypatch.setattr(fingerprint, "_STATUS_BLOCK", 1)
    monkeypatch.setattr(fingerprint, "os", SimpleNamespace(stat=stat))
    assert fingerprint.fingerprint_of({}, corpus) == alone


def test_other_audio_of_the_same_length_is_told(audio, tmp_path, write_noise):
    out = tmp_path / "out"
    run(audio, out)
    names = ("train.tsv", "valid.tsv", AUDIO)
    before = {name: (out / name).read_text() for name in names}
    write_noise(audio / "s1/a.wav", seconds=0.51, seed=99)
    run(audio, out)
    changed = [name for name in names if (out / name).read_text() != before[name]]
    assert changed == [AUDIO]
    kmeans = KMeansSettings(manifest=str(out / "train.tsv"), out="units")
    label = LabelSettings(manifests=[str(out / "train.tsv")], kmeans="units", out="units")
    assert out / AUDIO in kmeans_inputs(kmeans) and out / AUDIO in label_inputs(label)


def test_number_of_threads_changes_nothing(audio, tmp_path):
    run(audio, tmp_path / "one", workers=1)
    run(audio, tmp_path / "eight", workers=8)
    for name in ("train.tsv", "valid.tsv", "metadata.tsv", "rejected.tsv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "eight" / name).read_bytes()


def test_an_interrupted_run_leaves_no_half_written_file(audio, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def interrupt(path, min_seconds):
        if "s7" in str(path):
            raise KeyboardInterrupt
        return 16000

    with monkeypatch.context() as patch:
        patch.setattr("speechssl.data.listing.inspect_audio", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(audio, out, workers=1)
    assert list(out.iterdir()) == []
    run(audio, out)
    assert len(read_metadata(out / "metadata.tsv")) == 12


MEMORY = """
import resource, sys
from speechssl.data import fingerprint
from speechssl.data.corpora import CorpusSettings, open_corpus
from speechssl.data.listing import ManifestSettings, make_manifests
for name in ("small", "large"):
    corpus = CorpusSettings(name="folder", audio_dir=name)
    make_manifests(ManifestSettings(corpus=corpus, out=name + "-out", workers=2))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_corpus(tmp_path, write_noise):
    """Fifty times as many recordings (links to one file) cost less than a kilobyte each."""
    write_noise(tmp_path / "a.wav", seconds=0.1)
    for name, folders in (("small", 1), ("large", 50)):
        for folder in range(folders):
            (tmp_path / name / str(folder)).mkdir(parents=True)
            for n in range(100):
                (tmp_path / name / str(folder) / f"{n}.wav").hardlink_to(tmp_path / "a.wav")
    program = [sys.executable, "-c", MEMORY]
    result = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    small, large = (int(line) for line in result.stdout.splitlines() if line.isdigit())
    assert "5000 files" in result.stdout
    assert large - small < 4000  # kilobytes
