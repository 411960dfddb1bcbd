"""Trials, talks and mixtures of the official corpora, against s3prl's own readers."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from speechssl.errors import UserError
from speechssl.evaluation.superb.corpora import CORPORA, libri2mix
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.superb.corpus_rows import beside, column, paths, rows_of, their_paths
from tests.evaluation.superb.fake_corpora import (
    text,
    write_libri2mix,
    write_libri2mix_sources,
    write_libri2mix_speech,
    write_trials,
    write_voicebank,
)

with guarded_s3prl():
    from s3prl.dataio.corpus.voxceleb1sv import VoxCeleb1SV
    from s3prl.problem.diarization.util import kaldi_dir_to_csv


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
