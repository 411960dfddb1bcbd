"""Rows of the official corpora, against s3prl's own readers on a few files in each corpus's layout."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest

from speechssl.errors import UserError
from speechssl.evaluation.superb.corpora import CORPORA
from speechssl.evaluation.superb.data import FIXED
from speechssl.evaluation.superb.problems.mixtures import mixtures_of
from speechssl.evaluation.superb.reading import columns_of, read_data
from speechssl.evaluation.superb.settings import SuperbSettings
from speechssl.evaluation.superb.tasks import ALL_TASKS
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.superb.corpus_rows import column, paths, rows_of, their_paths, theirs
from tests.evaluation.superb.fake_corpora import (
    LEXICON,
    text,
    write_covost,
    write_fluent,
    write_iemocap,
    write_libri2mix,
    write_libri2mix_sources,
    write_libri2mix_speech,
    write_librispeech,
    write_quesst14,
    write_snips,
    write_speech_commands,
    write_trials,
    write_voicebank,
    write_voxceleb1,
)

with guarded_s3prl():
    from s3prl.dataio.corpus.fluent_speech_commands import FluentSpeechCommands
    from s3prl.dataio.corpus.iemocap import IEMOCAP
    from s3prl.dataio.corpus.librispeech import LibriSpeech
    from s3prl.dataio.corpus.speech_commands import SpeechCommandsV1
    from s3prl.dataio.corpus.voxceleb1sid import VoxCeleb1SID
    from s3prl.dataio.encoder.g2p import G2P
    from s3prl.problem.asr.superb_sf import SuperbSF, audio_snips_for_slot_filling

WRITERS = [
    ("asr", write_librispeech),
    ("ks", write_speech_commands),
    ("sid", write_voxceleb1),
    ("asv", write_trials),
    ("sd", write_libri2mix),
    ("sd", write_libri2mix_speech),
    ("ss", write_libri2mix_sources),
    ("ic", write_fluent),
    ("sf", write_snips),
    ("er", write_iemocap),
    ("se", write_voicebank),
    ("st", write_covost),
    ("qbe", write_quesst14),
]
"""Of each task, what writes a small corpus as it is unpacked."""


@pytest.mark.parametrize(("task", "write"), WRITERS)
def test_a_corpus_has_the_metadata_that_it_names(tmp_path: Path, task: str, write: Callable[[Path], object]):
    corpus = CORPORA[task]
    write(tmp_path / corpus.folders[0] if task != "ks" else tmp_path)
    labels = {*(corpus.columns or ALL_TASKS[task].columns), *FIXED, "label", "fold", "transcription", "sentence"}
    for rows in rows_of(task, tmp_path).values():
        assert all(set(row) - labels == set(corpus.metadata) for row in rows)


def test_librispeech_is_s3prl_s(tmp_path: Path):
    root = write_librispeech(tmp_path / "LibriSpeech")
    parts = rows_of("asr", tmp_path)
    for part, points in zip(("train", "valid", "test"), LibriSpeech(str(root), n_jobs=1).data_split, strict=True):
        assert len(points) == 4
        assert column(parts[part], "transcription") == theirs(points, "transcription")
        assert column(parts[part], "speaker") == theirs(points, "speaker")
        assert column(parts[part], "gender") == {key: value.lower() for key, value in theirs(points, "gender").items()}
        assert paths(parts[part]) == their_paths(points)


@pytest.mark.parametrize("given", [True, False])
def test_phones_are_those_of_s3prl_s_g2p(tmp_path: Path, given: bool):
    root = write_librispeech(tmp_path)
    lexicon = tmp_path / ("mine.txt" if given else "librispeech-lexicon.txt")
    text(lexicon, *LEXICON)
    g2p = G2P([str(lexicon)])
    for rows in rows_of("pr", root, [str(lexicon)] if given else ()).values():
        assert [row["phones"] for row in rows] == [g2p.encode(row["transcription"]) for row in rows]


def test_a_lexicon_is_needed_and_nothing_is_downloaded(tmp_path: Path):
    root = write_librispeech(tmp_path)
    with pytest.raises(UserError, match=r"task=pr needs .*librispeech-lexicon.* is missing; .*lexicon=FILE$"):
        rows_of("pr", root)
    text(tmp_path / "short.txt", *LEXICON[:3])
    with pytest.raises(UserError, match=r"2 words have no pronunciation in .*short\.txt, the first are DEV \(in 84"):
        rows_of("pr", root, [str(tmp_path / "short.txt")])
    text(tmp_path / "empty.txt", "THE DH AH0", "")
    with pytest.raises(UserError, match=r"empty\.txt: a line is not `WORD PHONE"):
        rows_of("pr", root, [str(tmp_path / "empty.txt")])


def test_speech_commands_are_s3prl_s(tmp_path: Path):
    words, test = write_speech_commands(tmp_path)
    parts = rows_of("ks", tmp_path)
    for part, points in zip(("train", "valid", "test"), SpeechCommandsV1(words, test).data_split, strict=True):
        spoken = [row for row in parts[part] if not row["end"]]
        expected = {key: point for key, point in points.items() if point["class_name"] != "_silence_"}
        assert expected and column(spoken, "label") == theirs(expected, "class_name")
        assert paths(spoken) == their_paths(expected)
    silence = [(row["start"], row["end"]) for row in parts["valid"] if row["label"] == "_silence_"]
    assert silence == [("0.0", "1.0"), ("1.0", "2.0"), ("2.0", "2.5")]
    assert {row["label"] for row in parts["train"]} == {"yes", "go", "_unknown_", "_silence_"}


def test_the_test_set_may_be_inside_and_is_needed(tmp_path: Path):
    words, test = write_speech_commands(tmp_path)
    test.rename(words / test.name)
    assert len(rows_of("ks", words)["test"]) == 3
    (words / test.name).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"speech_commands_test_set_v0\.01 .*is missing; get it from http.*tar\.gz$"):
        rows_of("ks", words)


def test_speakers_are_s3prl_s(tmp_path: Path):
    root = write_voxceleb1(tmp_path / "VoxCeleb1")
    corpus = VoxCeleb1SID(str(root), n_jobs=1, cache_root=str(root))
    parts = rows_of("sid", tmp_path)
    for part, points in zip(("train", "valid", "test"), corpus.data_split, strict=True):
        assert paths(parts[part]) == their_paths(points)
        numbers = {key: f"speaker_{int(label[2:]) - 10001}" for key, label in column(parts[part], "label").items()}
        assert numbers == theirs(points, "label")


def test_intents_are_s3prl_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = write_fluent(tmp_path / "fluent_speech_commands_dataset")
    monkeypatch.setattr(pandas.Series, "iteritems", pandas.Series.items, raising=False)
    parts = rows_of("ic", tmp_path)
    for part, points in zip(("train", "valid", "test"), FluentSpeechCommands(str(root)).data_split, strict=True):
        for name in ("action", "object", "location", "transcription"):
            assert points and column(parts[part], name) == theirs(points, name)
        assert column(parts[part], "speaker") == theirs(points, "speakerId")
        assert paths(parts[part]) == their_paths(points, "path")
    assert CORPORA["ic"].columns == ("action", "object", "location")


def test_slots_are_s3prl_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = write_snips(tmp_path / "audio_snips")
    monkeypatch.setattr(logging, "info", lambda *arguments: None)  # s3prl's call of it is wrong
    voices = {
        name: value for name, value in SuperbSF().default_config()["prepare_data"].items() if name.endswith("_speakers")
    }
    train, valid, (test,) = audio_snips_for_slot_filling(str(tmp_path), "", root, **voices)
    parts = rows_of("sf", tmp_path)
    for part, file in (("train", train), ("valid", valid), ("test", test)):
        with open(file, newline="", encoding="utf-8") as stream:
            expected = {row["id"]: row for row in csv.DictReader(stream)}
        for name in ("transcription", "iob", "intent", "speaker"):
            assert column(parts[part], name) == theirs(expected, name)
        assert paths(parts[part]) == their_paths(expected)
    assert column(parts["train"], "transcription")["Ivy-snips-train-0"] == "PLAY AGUA AND FIRE"
    assert [row["id"] for row in parts["test"]] == ["Emma-snips-test-0"]


def test_speakers_of_commands_are_described_where_the_table_is_there(tmp_path: Path):
    root = write_fluent(tmp_path / "fluent_speech_commands_dataset")
    assert rows_of("ic", tmp_path)["test"][0]["gender"] == ""
    text(
        root / "data" / "speaker_demographics.csv",
        "speakerId,Self-reported fluency level ,First Language spoken,gender,ageRange",
        "s1,native,English (Canada),male,22-40",
        "s2,advanced,French,female,41-65",
    )
    parts = rows_of("ic", tmp_path)
    place = CORPORA["ic"].place(str(root))
    assert root / "data" / "speaker_demographics.csv" in CORPORA["ic"].files(place), "a run is done again for it"
    known = [parts["test"][0][name] for name in ("gender", "age", "fluency", "first_language")]
    assert known == ["female", "41-65", "advanced", "French"]
    assert parts["train"][0]["gender"] == "", "a speaker who is not in it"


def test_a_word_without_a_slot_is_named(tmp_path: Path):
    root = write_snips(tmp_path)
    with open(root / "all.iob.snips.txt", "a", encoding="utf-8") as stream:
        stream.write("Ivy-snips-train-9 BOS ONE TWO EOS\tO O RateBook\n")
    with pytest.raises(UserError, match=r"Ivy-snips-train-9 has 2 words and 1 slots"):
        rows_of("sf", root)


def test_emotions_are_s3prl_s(tmp_path: Path):
    root = write_iemocap(tmp_path / "IEMOCAP_full_release")
    (rows,) = rows_of("er", tmp_path).values()
    points = {key: point for key, point in IEMOCAP(str(root)).all_data.items() if point["emotion"] != "fru"}
    merged = {key: "hap" if label == "exc" else label for key, label in theirs(points, "emotion").items()}
    assert len(merged) == 50 and column(rows, "label") == merged
    assert column(rows, "fold") == {key: f"session{number}" for key, number in theirs(points, "session_id").items()}
    assert column(rows, "act") == theirs(points, "act") and paths(rows) == their_paths(points)


def test_the_corpus_is_found_by_what_is_in_it(tmp_path: Path):
    corpus, above = CORPORA["asr"], tmp_path / "corpora"
    above.mkdir()
    assert corpus.place(str(above)).root == above / "LibriSpeech", "where it is expected"
    (above / "librispeech" / "dev-clean").mkdir(parents=True)
    assert corpus.place(str(above)).root == above / "librispeech"
    assert corpus.place(str(above / "librispeech")).root == above / "librispeech"
    (above / "dev-clean").mkdir()
    (above / "test-clean").mkdir()
    assert corpus.place(str(above)).root == above


def write_all_of_librispeech(root: Path) -> None:
    write_librispeech(root)
    for name in ("librispeech-lexicon-200k-g2p.txt", "librispeech-lexicon-allothers-g2p.txt"):
        text(root / name, *LEXICON)


@pytest.mark.parametrize(("task", "write"), [*WRITERS, ("pr", write_all_of_librispeech)])
def test_every_file_of_labels_that_is_read_decides_whether_results_are_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, write: Callable[[Path], object]
):
    corpus = CORPORA[task]
    write(tmp_path / ("" if task == "ks" else corpus.folders[0]))
    opened: set[Path] = set()

    def noted(file, *args, **kwargs):
        opened.add(Path(file))
        return builtins_open(file, *args, **kwargs)

    builtins_open = open
    monkeypatch.setattr("builtins.open", noted)
    monkeypatch.setattr("io.open", noted)
    place = corpus.place(str(tmp_path))
    corpus.read_beside(place, corpus.rows(place))
    read = {file for file in opened if file.is_relative_to(tmp_path) and file.suffix not in (".wav", ".flac", ".mp3")}
    assert task in ("ks", "ss") or read
    assert read <= set(corpus.files(place))


@pytest.mark.parametrize(("task", "write"), WRITERS)
def test_the_folder_may_be_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, write: Callable[[Path], object]
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "corpora" / ("" if task == "ks" else CORPORA[task].folders[0]))
    settings = SuperbSettings(task=task, corpus_dir="corpora", check=True)
    for data in read_data(settings):
        assert all(item.audio.is_file() for items in data.parts.values() for item in items)
        if task in ("se", "ss"):
            mixtures = mixtures_of(data, "test", columns_of(settings))
            assert all(source.audio.is_file() for item in mixtures.values() for source in item.sources)


def test_translations_are_covost_s_as_s3prl_prepares_them(tmp_path: Path):
    """Against the official split, a join of both tables, but for the lines that s3prl leaves out, worked by hand."""
    root = write_covost(tmp_path / "CoVoST2")
    tables = (
        pandas.read_csv(root / name, sep="\t", quoting=csv.QUOTE_NONE)
        for name in ("validated.tsv", "covost_v2.en_de.tsv")
    )
    spoken, translated = tables
    joined = pandas.merge(spoken, translated[["path", "translation", "split"]], on="path").set_index("path")
    parts = rows_of("st", tmp_path)
    names = {part: [row["id"] for row in rows] for part, rows in parts.items()}
    assert names == {"train": ["a", "b"], "valid": ["e"], "test": ["f"]}
    for row in (row for rows in parts.values() for row in rows):
        assert row["sentence"] == joined.loc[f"{row['id']}.mp3", "sentence"]
        assert Path(row["path"]).is_file() and row["age"] == "teens"
    assert column(parts["train"], "translation") == {"a": 'Wie geht es "dir"?', "b": 'Er sagte "nein".'}
    assert column(parts["valid"], "translation") == {"e": "Hallo."}


def test_the_table_of_translations_may_be_above(tmp_path: Path):
    root = write_covost(tmp_path / "cv" / "en")
    (root / "covost_v2.en_de.tsv").rename(tmp_path / "cv" / "covost_v2.en_de.tsv")
    assert len(rows_of("st", root)["train"]) == 2
    (tmp_path / "cv" / "covost_v2.en_de.tsv").unlink()
    with pytest.raises(
        UserError, match=r"task=st needs CoVoST 2 .*covost_v2\.en_de\.tsv.* is missing; get it from http"
    ):
        rows_of("st", root)
