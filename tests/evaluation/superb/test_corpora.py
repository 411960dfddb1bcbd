"""Rows of the official corpora, against s3prl's own readers on a few files in each corpus's layout."""

from __future__ import annotations

import csv
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas
import pytest

from speechssl.errors import UserError
from speechssl.evaluation.superb.corpora import CORPORA, libri2mix
from speechssl.evaluation.superb.corpora.layout import Parts
from speechssl.evaluation.superb.data import FIXED, Row
from speechssl.evaluation.superb.problems.mixtures import mixtures_of
from speechssl.evaluation.superb.reading import columns_of, read_data
from speechssl.evaluation.superb.settings import SuperbSettings
from speechssl.evaluation.superb.tasks import ALL_TASKS
from speechssl.s3prl_patches import guarded_s3prl
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
    from s3prl.dataio.corpus.voxceleb1sv import VoxCeleb1SV
    from s3prl.dataio.encoder.g2p import G2P
    from s3prl.problem.asr.superb_sf import SuperbSF, audio_snips_for_slot_filling
    from s3prl.problem.diarization.util import kaldi_dir_to_csv


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


def rows_of(task: str, folder: Path, lexicon: Iterable[str] = ()) -> Parts:
    corpus = CORPORA[task]
    place = corpus.place(str(folder), tuple(lexicon))
    corpus.require(task, place)
    return corpus.rows(place)


def beside(task: str, folder: Path) -> Parts:
    corpus = CORPORA[task]
    assert corpus.beside is not None
    return corpus.beside(corpus.place(str(folder)), rows_of(task, folder))


def column(rows: Iterable[Row], name: str) -> dict[str, str]:
    return {row["id"]: row[name] for row in rows}


def paths(rows: Iterable[Row]) -> dict[str, Path]:
    return {row["id"]: Path(row["path"]).resolve() for row in rows}


def theirs(points: Mapping, name: str) -> dict[str, str]:
    return {key: str(point[name]) for key, point in points.items()}


def their_paths(points: Mapping, name: str = "wav_path") -> dict[str, Path]:
    return {key: Path(point[name]).resolve() for key, point in points.items()}


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


def test_trials_and_speakers_are_s3prl_s_but_for_some_held_out(tmp_path: Path):
    root = write_trials(tmp_path / "VoxCeleb1")
    (root / "voxceleb1_test_v2.txt").write_text((root / "veri_test2.txt").read_text())
    train, valid, test, trials = VoxCeleb1SV(str(root), str(root), force_download=False).all_data
    parts, pairs = rows_of("asv", tmp_path), beside("asv", tmp_path)
    expected = {key.removesuffix(".wav"): path for key, path in their_paths({**train, **valid}).items()}
    assert {**paths(parts["train"]), **paths(parts["valid"])} == expected
    held_out = {row["label"] for row in parts["valid"]}
    assert len(held_out) == 2 and not held_out & {row["label"] for row in parts["train"]}
    assert (
        paths(parts["test"]).items()
        <= {key.removesuffix(".wav"): path for key, path in their_paths(test).items()}.items()
    )
    assert {row["id"] for row in parts["test"]} == {row[name] for row in pairs["test"] for name in ("first", "second")}
    said = [(int(row["label"]), f"{row['first']}.wav", f"{row['second']}.wav") for row in pairs["test"]]
    assert said == trials
    speakers = column(parts["valid"], "label")
    assert len(pairs["valid"]) == 2 * len(speakers)
    for row in pairs["valid"]:
        assert (speakers[row["first"]] == speakers[row["second"]]) == (row["label"] == "1")
        assert row["first"] != row["second"]


def test_a_broken_list_of_trials(tmp_path: Path):
    root = write_trials(tmp_path)
    text(root / "veri_test2.txt", "1 id10270/ddd/00002.wav")
    with pytest.raises(UserError, match=r"veri_test2\.txt line 1 is not"):
        rows_of("asv", root)
    text(root / "veri_test2.txt")
    with pytest.raises(UserError, match=r"veri_test2\.txt has no trials"):
        rows_of("asv", root)


def test_who_speaks_when_is_s3prl_s(tmp_path: Path):
    root = write_libri2mix(tmp_path / "Libri2Mix")
    parts, segments = rows_of("sd", tmp_path), beside("sd", tmp_path)
    for part, folder in (("train", "train"), ("valid", "dev"), ("test", "test")):
        kaldi_dir_to_csv(str(root / folder), str(tmp_path / "theirs.csv"))
        expected = list(csv.DictReader((tmp_path / "theirs.csv").open()))
        assert paths(parts[part]) == {row["record_id"]: Path(row["wav_path"]).resolve() for row in expected}
        theirs = [
            (row["record_id"], float(row["start_sec"]), float(row["end_sec"]), row["speaker"]) for row in expected
        ]
        ours = [(row["id"], float(row["start"]), float(row["end"]), row["speaker"]) for row in segments[part]]
        assert len(ours) == 4 and ours == theirs


def test_who_speaks_when_in_mixtures_is_when_their_sources_are_speech(tmp_path: Path):
    """Both sources begin with the mixture. Segments worked out by hand."""
    root = write_libri2mix_speech(tmp_path / "Libri2Mix")
    names = ["19-198-0000_26-495-0001", "27-123349-0002_19-198-0000"]
    spoken = [
        (names[0], 0.25, 0.75, "19"),
        (names[0], 1.0, 1.5, "19"),
        (names[0], 0.125, 1.625, "26"),
        (names[1], 0.5, 1.75, "27"),
        (names[1], 0.25, 0.75, "19"),
        (names[1], 1.0, 1.5, "19"),
    ]
    parts, segments = rows_of("sd", tmp_path), beside("sd", tmp_path)
    for part, folder in (("train", "train-100"), ("valid", "dev"), ("test", "test")):
        mixtures = root / "wav16k" / "max" / folder / "mix_both"
        assert paths(parts[part]) == {name: (mixtures / f"{name}.wav").resolve() for name in names}
        ours = [(row["id"], float(row["start"]), float(row["end"]), row["speaker"]) for row in segments[part]]
        assert ours == spoken


def test_kaldi_folders_of_libri2mix_come_first(tmp_path: Path):
    root = write_libri2mix_speech(write_libri2mix(tmp_path / "Libri2Mix"))
    assert {row["id"] for row in rows_of("sd", tmp_path)["test"]} == {"test_0", "test_1"}
    assert {row["speaker"] for row in beside("sd", tmp_path)["test"]} == {"a", "b"}
    assert root / "test_clean.rttm" not in CORPORA["sd"].files(CORPORA["sd"].place(str(tmp_path)))


def test_a_mixture_whose_source_is_unknown(tmp_path: Path):
    root = write_libri2mix_speech(tmp_path / "Libri2Mix")
    mixtures = root / "wav16k" / "max" / "dev" / "mix_both"
    (mixtures / "19-198-0000_26-495-0001.wav").rename(mixtures / "19-198-0000_26-495-0009.wav")
    with pytest.raises(UserError, match=r"0009\.wav: .*dev_clean\.rttm does not say when 26-495-0009 is speech"):
        beside("sd", tmp_path)
    (root / "dev_clean.rttm").unlink()
    with pytest.raises(UserError, match=r"dev/segments \(or dev_clean\.rttm\) is missing; get it from .*LibriMix"):
        rows_of("sd", tmp_path)


def test_a_segment_without_a_speaker(tmp_path: Path):
    root = write_libri2mix(tmp_path)
    text(root / "dev" / "utt2spk", "dev_0_a a")
    with pytest.raises(UserError, match=r"dev/segments: dev_0_b is not `utterance mixture start end` with a speaker"):
        beside("sd", root)


def test_noisy_speech_has_its_clean_speech_beside_it(tmp_path: Path):
    """s3prl's `data_prepare.py`, which its wheel lacks, holds out the speakers p226 and p287."""
    root = write_voicebank(tmp_path / "VoiceBank-DEMAND")
    parts = rows_of("se", tmp_path)
    names = {part: [row["id"] for row in rows] for part, rows in parts.items()}
    assert names == {
        "train": ["p228_002", "p230_003"],
        "valid": ["p226_001", "p287_005"],
        "test": ["p232_001", "p257_004"],
    }
    row = parts["valid"][0]
    assert row["path"] == str(root / "noisy_trainset_28spk_wav" / "p226_001.wav") and row["speaker"] == "p226"
    assert row["clean"] == str(root / "clean_trainset_28spk_wav" / "p226_001.wav")
    (root / "clean_trainset_28spk_wav").rename(root / "clean_trainset_28spk_wav_16k")
    assert "_16k" in rows_of("se", tmp_path)["valid"][0]["clean"]
    (root / "clean_testset_wav").rename(root / "clean")
    with pytest.raises(UserError, match=r"clean_testset_wav_16k \(or clean_testset_wav\) is missing"):
        rows_of("se", tmp_path)


@pytest.mark.parametrize("folder", ["", "logfiles"])
def test_noise_of_the_logs(tmp_path: Path, folder: str):
    root = write_voicebank(tmp_path / "VoiceBank-DEMAND")
    (root / "log_testset.txt").unlink()
    assert column(rows_of("se", tmp_path)["test"], "snr") == {"p232_001": "", "p257_004": ""}
    text(root / folder / "log_testset.txt", "p232_001 bus 17.5", "p257_004 cafe 2.5")
    test = rows_of("se", tmp_path)["test"]
    assert column(test, "noise") == {"p232_001": "bus", "p257_004": "cafe"}
    assert column(test, "snr") == {"p232_001": "17.5", "p257_004": "2.5"}
    text(root / folder / "log_testset.txt", "p232_001 bus 17.5", "p257_004")
    with pytest.raises(UserError, match=r"log_testset\.txt line 2 is not `recording noise level`; get it again"):
        rows_of("se", tmp_path)


def test_mixtures_have_their_two_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of `dev` s3prl's `subsample.py`, which its wheel lacks, draws 1000."""
    monkeypatch.setattr(libri2mix, "_VALID_MIXTURES", 3)
    folder = write_libri2mix_sources(tmp_path / "Libri2Mix") / "wav16k" / "min"
    parts = rows_of("ss", tmp_path)
    assert {part: len(rows) for part, rows in parts.items()} == {"train": 5, "valid": 3, "test": 5}
    row = parts["test"][2]
    name = "2-test_9-1-0003"
    assert row["id"] == name and row["path"] == str(folder / "test" / "mix_clean" / f"{name}.wav")
    assert [row[f"source{n}"] for n in (1, 2)] == [str(folder / "test" / f"s{n}" / f"{name}.wav") for n in (1, 2)]
    drawn = [f"{number}-dev_9-1-0003" for number in range(5)]
    random.seed(7)
    random.shuffle(drawn)
    assert {row["id"] for row in parts["valid"]} == set(drawn[:3])


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
