import csv
import hashlib
import importlib
import io
import tarfile
from pathlib import Path

import pytest

from speechssl.cli import configuration
from speechssl.cli.manifest import COMMAND
from speechssl.data.corpora import CORPORA, CorpusSettings, open_corpus
from speechssl.errors import UserError


def entries(name, folder, **settings):
    corpus = open_corpus(CorpusSettings(name=name, audio_dir=str(folder), **settings))
    return {entry.path: entry for entry in corpus.entries()}


def test_every_corpus_has_its_configuration():
    for name in CORPORA:
        settings = configuration.load_settings(COMMAND, [f"corpus={name}", "out=x"])
        assert settings.corpus.name == name
    assert sorted(CORPORA) == sorted(path.stem for path in (configuration.config_dir() / "corpus").glob("*.yaml"))


def test_settings_of_another_corpus_are_refused(tmp_path):
    for settings, message in [
        ({"name": "foldr"}, "did you mean 'folder'"),
        ({"name": "folder"}, "needs corpus.audio_dir"),
        ({"name": "folder", "audio_dir": str(tmp_path / "gone")}, "is not a folder"),
        ({"name": "folder", "audio_dir": str(tmp_path), "parts": ["dev-clean"]}, "corpus.parts is for"),
        ({"name": "tuxpaint", "audio_dir": str(tmp_path), "metadata": "x.tsv"}, "corpus.metadata is for"),
        ({"name": "librispeech", "parts": ["dev-clean", "dev-clean"]}, "names a part twice"),
        (
            {"name": "tuxpaint", "audio_dir": str(tmp_path), "downloads": "x"},
            "corpus=tuxpaint with corpus.audio_dir does not read corpus.downloads: leave it out",
        ),
        ({"name": "esc50", "downloads": "x"}, "corpus=esc50 does not read corpus.downloads"),
    ]:
        with pytest.raises(UserError, match=message):
            open_corpus(CorpusSettings(**settings))


def test_folder_takes_a_fairseq_manifest_for_no_table_of_labels(tmp_path, write_noise):
    write_noise(tmp_path / "a.wav")
    (tmp_path / "manifest.tsv").write_text("/somewhere\na.wav\t8000\n")
    assert entries("folder", tmp_path)["a.wav"].labels == {}
    (tmp_path / "manifest.tsv").write_text("path\tdur\tlabel\na.wav\t8000\tdog\n")
    assert entries("folder", tmp_path)["a.wav"].labels == {"label": "dog"}


@pytest.mark.parametrize(
    ("name", "header"), [("metadata.csv", "file,kind"), ("metadata.csv", ""), ("metadata.tsv", "file\tkind")]
)
def test_folder_says_that_a_table_of_labels_has_no_paths(tmp_path, write_noise, caplog, name, header):
    write_noise(tmp_path / "a.wav")
    (tmp_path / name).write_text(f"{header}\na.wav,dog\n")
    assert entries("folder", tmp_path)["a.wav"].labels == {}
    assert f"{name} has no column 'path' in its first line, so no labels are read from it" in caplog.text
    with pytest.raises(UserError, match="path"):
        entries("folder", tmp_path, metadata=str(tmp_path / name))


def test_folder_takes_labels_with_commas(tmp_path, write_noise):
    for name in ("a.wav", "b.wav"):
        write_noise(tmp_path / name)
    table = tmp_path / "metadata.csv"
    table.write_text('path,seconds,kind,note,split\na.wav,1,dog,"loud, near",test\nb.wav,1,cat,,\n')
    found = entries("folder", tmp_path)
    assert found["a.wav"].labels == {"kind": "dog", "note": "loud, near"} and found["a.wav"].split == "test"
    assert found["b.wav"].labels == {"kind": "cat", "note": ""}
    table.write_text('path,kind,note\na.wav,dog,"two\tparts\nand lines"\n')
    found = entries("folder", tmp_path)
    assert found["a.wav"].labels == {"kind": "dog", "note": "two parts and lines"}
    assert found["b.wav"].labels == {"kind": "", "note": ""}
    elsewhere = table.rename(tmp_path.with_suffix(".csv"))
    assert entries("folder", tmp_path, metadata=str(elsewhere)) == found
    elsewhere.write_text("path,kind\na.wav,dog,too many\n")
    with pytest.raises(UserError, match=r"line 2 has another number of cells than the first line; mend it"):
        entries("folder", tmp_path, metadata=str(elsewhere))


def test_folder_refuses_a_csv_that_names_a_column_twice(tmp_path, write_noise):
    write_noise(tmp_path / "a.wav")
    (tmp_path / "metadata.csv").write_text("path,kind,kind\na.wav,dog,\n")
    with pytest.raises(UserError, match=r"metadata\.csv names a column twice in its first line; mend it"):
        entries("folder", tmp_path)


def test_folder_passes_over_columns_without_a_name(tmp_path, write_noise):
    """Such as the numbers of rows that pandas writes."""
    write_noise(tmp_path / "a.wav")
    (tmp_path / "metadata.csv").write_text(",path,kind,\n0,a.wav,dog,x\n")
    assert entries("folder", tmp_path)["a.wav"].labels == {"kind": "dog"}


def test_folder_says_that_a_first_line_is_none_of_a_csv(tmp_path):
    """As Python 3.10 does of the NULs of UTF-16."""
    (tmp_path / "metadata.csv").write_text("path," + "x" * (csv.field_size_limit() + 1))
    with pytest.raises(UserError, match=r"metadata\.csv is not a table of cells"):
        entries("folder", tmp_path)


def test_folder_lists_lost_phone_times_in_the_order_of_their_table(tmp_path):
    """A command that lists them in another order than before is never done."""
    names = [f"{number}.wav" for number in range(20)]
    rows = "".join(f"{name}\t0\t1\ta\n" for name in names)
    (tmp_path / "alignments.tsv").write_text("path\tstart\tend\tphone\n" + rows)
    assert list(entries("folder", tmp_path)) == names


def test_asterisk_voices(tmp_path, write_noise):
    for name in ("en_US_f_Allison/digits/1.wav", "en_US_f_Allison/hello.wav", "fr_CA_f_June/hello.wav"):
        write_noise(tmp_path / "sounds" / name)
    (tmp_path / "sounds/en").symlink_to("en_US_f_Allison")
    (tmp_path / "sounds/fr_FR_f_Alias").symlink_to("fr_CA_f_June")
    write_noise(tmp_path / "sounds/custom/mine.wav")
    found = entries("asterisk", tmp_path)
    assert {path: (e.labels["language"], e.labels["prompt"], e.labels["speaker"]) for path, e in found.items()} == {
        "sounds/en_US_f_Allison/digits/1.wav": ("en", "digits/1", "en_US_f_Allison"),
        "sounds/en_US_f_Allison/hello.wav": ("en", "hello", "en_US_f_Allison"),
        "sounds/fr_CA_f_June/hello.wav": ("fr", "hello", "fr_CA_f_June"),
    }
    with pytest.raises(UserError, match="no folder of an Asterisk voice"):
        entries("asterisk", tmp_path / "sounds/custom")


def test_tuxpaint_texts_by_language(tmp_path, write_noise):
    for name in ("frog.ogg", "frog_desc.ogg", "frog_desc_fr.ogg", "frog_desc_pt_BR.wav", "frog_desc_da.ogg.ogg"):
        write_noise(tmp_path / "animals/small" / name, rate=16000)
    write_noise(tmp_path / "plants/fern_desc_el.ogg", rate=16000)
    (tmp_path / "animals/small/frog.txt").write_text(
        "A frog.\nfr.utf8=Une grenouille = « rana ».\npt_BR.utf8=Um sapo.\n"
    )
    found = entries("tuxpaint", tmp_path)
    sound_effect = found.pop("animals/small/frog.ogg")
    assert "not speech" in sound_effect.rejected
    assert {path: (entry.labels["language"], entry.labels["text"]) for path, entry in found.items()} == {
        "animals/small/frog_desc.ogg": ("en", "A frog."),
        "animals/small/frog_desc_fr.ogg": ("fr", "Une grenouille = « rana »."),
        "animals/small/frog_desc_pt_BR.wav": ("pt_BR", "Um sapo."),
        "animals/small/frog_desc_da.ogg.ogg": ("da", ""),
        "plants/fern_desc_el.ogg": ("el", ""),
    }
    assert found["plants/fern_desc_el.ogg"].labels["theme"] == "plants"
    assert len({entry.labels["prompt"] for entry in found.values()}) == 2


def test_speechocean762_in_its_official_layout(tmp_path, write_noise):
    tables = {
        "train": ("000010011\tWAVE/SPEAKER0001/000010011.WAV", "0001\t6", "0001\tm", "000010011\tWE CALL IT BEAR"),
        "test": ("000030012 WAVE/SPEAKER0003/000030012.WAV", "0003 43", "0003 f", "000030012 MARK IS GOING"),
    }
    for split, (wav, age, gender, text) in tables.items():
        folder = tmp_path / split
        folder.mkdir()
        (folder / "wav.scp").write_text(wav + "\n")
        (folder / "utt2spk").write_text(f"{wav.split()[0]}\t{age.split()[0]}\n")
        for name, line in (("spk2age", age), ("spk2gender", gender), ("text", text)):
            (folder / name).write_text(line + "\n")
    found = entries("speechocean762", tmp_path)
    train, test = found["WAVE/SPEAKER0001/000010011.WAV"], found["WAVE/SPEAKER0003/000030012.WAV"]
    assert train.labels == {"speaker": "0001", "gender": "m", "age": "6", "text": "WE CALL IT BEAR"}
    assert test.labels == {"speaker": "0003", "gender": "f", "age": "43", "text": "MARK IS GOING"}
    assert (train.split, test.split) == ("train", "test")
    (tmp_path / "test/text").write_bytes("000030012 É".encode("latin-1"))
    with pytest.raises(UserError, match="test/text is not UTF-8 text"):
        entries("speechocean762", tmp_path)
    (tmp_path / "test/text").unlink()
    with pytest.raises(UserError, match="test/text does not exist"):
        entries("speechocean762", tmp_path)


SPEAKERS = """;ID  |SEX| SUBSET           |MINUTES| NAME
14   | F | train-clean-360  | 25.03 | Kristin LeMoine
84   | F | dev-clean        |  8.02 | Christie Nowak
103  | M | train-clean-100  | 25.00 | Karen Savage | Junior
"""


@pytest.fixture
def librispeech_tree(tmp_path, write_noise):
    root = tmp_path / "LibriSpeech"
    for path in ("train-clean-100/103/1240/103-1240-0000", "train-clean-100/103/1240/103-1240-0001",
                 "dev-clean/84/121123/84-121123-0000", "test-other/9/8/9-8-0000"):  # fmt: skip
        write_noise(root / f"{path}.flac")
    (root / "SPEAKERS.TXT").write_text(SPEAKERS)
    transcripts = "103-1240-0000 CHAPTER ONE\n103-1240-0001 THAT HAD ITS SOURCE\n103-1240-0002 NO SUCH FILE\n"
    (root / "train-clean-100/103/1240/103-1240.trans.txt").write_text(transcripts)
    return root


def test_librispeech_passes_over_files_where_chapters_are(librispeech_tree, monkeypatch):
    (librispeech_tree / "dev-clean/84/notes.txt").touch()
    # What the pattern `*/*/` finds before Python 3.11.
    monkeypatch.setattr(
        Path, "glob", lambda folder, _: iter(child for each in folder.iterdir() for child in each.iterdir())
    )
    found = entries("librispeech", librispeech_tree, parts=["dev-clean"])
    assert list(found) == ["dev-clean/84/121123/84-121123-0000.flac"]


@pytest.mark.parametrize(("name", "link"), [("../outside", ""), ("/outside", ""), ("link", "/etc")])
def test_without_filters_an_archive_stays_in_its_folder_too(tmp_path, monkeypatch, name, link):
    module = importlib.import_module("speechssl.data.corpora.librispeech")
    monkeypatch.delattr(tarfile, "data_filter")
    member = tarfile.TarInfo(name)
    if link:
        member.type, member.linkname = tarfile.SYMTYPE, link
    for members, archive in (([], tmp_path / "good.tar"), ([member], tmp_path / "bad.tar")):
        with tarfile.open(archive, "w") as tar:
            for each in (tarfile.TarInfo("LibriSpeech/a.txt"), *members):
                tar.addfile(each)
    module._unpack(tmp_path / "good.tar", str(tmp_path / "folder"))
    assert (tmp_path / "folder/LibriSpeech/a.txt").is_file()
    with pytest.raises(UserError, match=rf"holds '{name}', which has no place in it"):
        module._unpack(tmp_path / "bad.tar", str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_librispeech_in_its_official_layout(librispeech_tree):
    parts = ["train-clean-100", "dev-clean", "test-other"]
    found = entries("librispeech", librispeech_tree, parts=parts)
    assert found["train-clean-100/103/1240/103-1240-0001.flac"].labels == {
        "speaker": "103",
        "gender": "m",
        "chapter": "1240",
        "part": "train-clean-100",
        "text": "THAT HAD ITS SOURCE",
    }
    assert "train-clean-100/103/1240/103-1240-0002.flac" in found  # rejected later: no such file
    splits = {path.split("/")[0]: entry.split for path, entry in found.items()}
    assert splits == {"train-clean-100": "train", "dev-clean": "valid", "test-other": "test-other"}
    assert found["dev-clean/84/121123/84-121123-0000.flac"].labels["gender"] == "f"
    with pytest.raises(UserError, match="no part train-clean-360: unpack"):
        entries("librispeech", librispeech_tree, parts=["train-clean-360"])
    with pytest.raises(UserError, match="did you mean 'train-clean-360'"):
        entries("librispeech", librispeech_tree, parts=["train-clean-36"])


def test_librispeech_is_downloaded_checked_and_whole(librispeech_tree, tmp_path, monkeypatch):
    server, downloads = tmp_path / "server", tmp_path / "downloads"
    server.mkdir()
    archive = server / "dev-clean.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("SPEAKERS.TXT", "dev-clean"):
            tar.add(librispeech_tree / name, f"LibriSpeech/{name}")
    module = importlib.import_module("speechssl.data.corpora.librispeech")
    monkeypatch.setattr(module, "URL", server.as_uri())
    settings = {"parts": ["dev-clean"], "downloads": str(downloads)}
    with pytest.raises(UserError, match="cannot be downloaded"):
        entries("librispeech", "", **settings)
    assert list((downloads / "LibriSpeech").iterdir()) == []  # another checksum than LibriSpeech's
    monkeypatch.setitem(module.CHECKSUMS, "dev-clean", hashlib.sha256(archive.read_bytes()).hexdigest())
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(module, "progress_stream", lambda: terminal)
    assert list(entries("librispeech", "", **settings)) == ["dev-clean/84/121123/84-121123-0000.flac"]
    assert "100%" in terminal.getvalue()  # progress goes where the other bars go, past a recipe's log
    assert sorted(path.name for path in (downloads / "LibriSpeech").iterdir()) == ["SPEAKERS.TXT", "dev-clean"]
    archive.unlink()
    assert len(entries("librispeech", "", **settings)) == 1  # there already


def test_a_broken_librispeech_archive_is_found(tmp_path):
    (tmp_path / "LibriSpeech").mkdir()
    (tmp_path / "LibriSpeech/dev-clean.tar.gz").write_bytes(b"half a download")
    with pytest.raises(UserError, match="another checksum"):
        entries("librispeech", "", parts=["dev-clean"], downloads=str(tmp_path))
