"""Speech Commands, in the layout of its archives."""

import math

import numpy as np
import pytest
import soundfile

from speechssl.data.corpora import CorpusSettings, open_corpus
from speechssl.data.corpora.speech_commands import OTHER_WORDS, TEN_WORDS
from speechssl.data.listing import ManifestSettings, make_manifests
from speechssl.data.manifest import read_manifest
from speechssl.data.metadata import read_metadata
from tests.data.clip_corpora import entries, reasons, touch, write


@pytest.fixture
def commands(tmp_path):
    """Sixteen clips of each of ten words by as many speakers, four of three others, two recordings of noise."""
    root = tmp_path / "speech_commands_v0.02"
    for word, speakers in [*((word, 16) for word in TEN_WORDS), ("bed", 4), ("cat", 4), ("learn", 24)]:
        touch(root, *(f"{word}/{speaker:08x}_nohash_0.wav" for speaker in range(speakers)))
    lists = {"validation_list.txt": range(2), "testing_list.txt": range(2, 4)}
    for name, speakers in lists.items():
        words = [*TEN_WORDS, "bed", "cat", "learn"]
        write(root / name, *(f"{word}/{speaker:08x}_nohash_0.wav" for speaker in speakers for word in words))
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 20 * 1600 + 700)
    (root / "_background_noise_").mkdir()
    for name in ("pink_noise", "running_tap"):
        soundfile.write(root / f"_background_noise_/{name}.wav", noise, 1600)
    touch(root, "_background_noise_/README.md", "LICENSE")
    return root


def test_speech_commands_with_the_official_lists(commands, tmp_path):
    touch(commands, "yes/mine.wav", "hello/0a_nohash_0.wav")
    with open(commands / "testing_list.txt", "a") as file:
        print("no/ffffffff_nohash_3.wav", file=file)
    found = entries("speech_commands", commands, downloads=str(tmp_path / "downloads"))
    assert reasons(found) == {
        "words/yes/mine.wav": "not named <speaker>_nohash_<number>.wav",
        "words/hello/0a_nohash_0.wav": "not in the folder of a word of Speech Commands",
        "words/no/ffffffff_nohash_3.wav": "in an official list, but there is no such file",
        **{
            f"words/_background_noise_/{name}.wav": "background noise, which is cut into the clips of _silence_"
            for name in ("pink_noise", "running_tap")
        },
    }
    splits = {number: found[f"words/yes/{number:08x}_nohash_0.wav"].split for number in range(5)}
    assert splits == {0: "valid", 1: "valid", 2: "test", 3: "test", 4: "train"}
    labels = {"command": "yes", "command12": "yes", "speaker": "00000004"}
    assert found["words/yes/00000004_nohash_0.wav"].labels == labels


def test_twelve_classes_have_a_tenth_of_unknown_words_in_each_split(commands, tmp_path):
    def unknown():
        found = entries("speech_commands", commands, downloads=str(tmp_path / "downloads"))
        others = [entry for entry in found.values() if entry.labels.get("command") in OTHER_WORDS]
        assert {entry.labels["command12"] for entry in others} == {"_unknown_", ""}
        chosen = {entry.path: entry.split for entry in others if entry.labels["command12"]}
        return {split: {path for path in chosen if chosen[path] == split} for split in ("train", "valid", "test")}

    chosen = unknown()
    # 16 clips of ten words: 120 train, 20 valid, 20 test.
    assert {split: len(paths) for split, paths in chosen.items()} == {"train": 12, "valid": 2, "test": 2}
    assert {path.split("/")[1] for path in chosen["train"]} <= {"bed", "cat", "learn"}
    assert unknown() == chosen
    (commands / "yes/00000004_nohash_0.wav").unlink()  # 119 of the ten words: still twelve, and the same
    assert unknown() == chosen


def test_silence_is_cut_into_clips_that_no_two_splits_share(commands, tmp_path):
    settings = CorpusSettings("speech_commands", str(commands), str(tmp_path / "downloads"))
    corpus = open_corpus(settings)
    silence = [entry for entry in corpus.entries() if entry.labels.get("command12") == "_silence_"]
    counts = {split: sum(entry.split == split for entry in silence) for split in ("train", "valid", "test")}
    assert counts == {"train": 32, "valid": 4, "test": 4}  # twenty whole seconds each, by tenths
    noise, _ = soundfile.read(commands / "_background_noise_/pink_noise.wav", dtype="int16")
    clips = sorted(entry.path for entry in silence if "pink_noise" in entry.path)
    clips.sort(key=lambda path: path.rpartition("-")[2])
    cut = np.concatenate([soundfile.read(corpus.root / path, dtype="int16")[0] for path in clips])
    np.testing.assert_array_equal(cut, noise[: 20 * 1600])
    # What was made is kept, and two versions do not meet.
    for noise in (commands / "_background_noise_").glob("*.wav"):
        noise.unlink()
    assert sum(entry.path.startswith("silence/") for entry in open_corpus(settings).entries()) == 40
    other = tmp_path / "speech_commands_v0.01"
    commands.rename(other)
    again = open_corpus(CorpusSettings("speech_commands", str(other), str(tmp_path / "downloads")))
    assert again.root != corpus.root
    assert not any(entry.path.startswith("silence/") for entry in again.entries())  # nothing to cut
    assert len(list((tmp_path / "downloads").iterdir())) == 2


def test_the_authors_test_set_of_twelve_classes_is_used_where_it_is(commands, tmp_path):
    test_set = "speech_commands_test_set_v0.02"
    touch(
        commands / test_set,
        "yes/00000002_nohash_0.wav",
        "_silence_/0.wav",
        "_silence_/1.wav",
        "_unknown_/learn_00000003_nohash_0.wav.wav",
    )
    found = entries("speech_commands", commands, downloads=str(tmp_path / "downloads"))
    test = {path: entry.labels["command12"] for path, entry in found.items() if entry.split == "test"}
    assert {path for path, label in test.items() if label == "_silence_"} == {
        f"words/{test_set}/_silence_/0.wav",
        f"words/{test_set}/_silence_/1.wav",
    }
    assert [path for path, label in test.items() if label == "_unknown_"] == ["words/learn/00000003_nohash_0.wav"]
    copies = {path for path, reason in reasons(found).items() if reason.startswith("a copy")}
    assert copies == {
        f"words/{test_set}/yes/00000002_nohash_0.wav",
        f"words/{test_set}/_unknown_/learn_00000003_nohash_0.wav.wav",
    }
    assert sum(entry.split == "train" and entry.path.startswith("silence/") for entry in found.values()) == 36


def test_manifests_of_speech_commands(commands, tmp_path, write_noise):
    """The whole way: splits, metadata, and what cannot be used."""
    for n, path in enumerate(sorted(commands.glob("*/*_nohash_0.wav"))):
        write_noise(path, seconds=0.25, rate=1600, seed=n)
    corpus = CorpusSettings("speech_commands", str(commands), str(tmp_path / "downloads"))
    make_manifests(ManifestSettings(corpus, str(tmp_path / "out"), workers=1))
    counts = {name: len(read_manifest(tmp_path / f"out/{name}.tsv")) for name in ("train", "valid", "test")}
    assert counts == {"train": 120 + 20 + 32, "valid": 26 + 4, "test": 26 + 4}
    metadata = read_metadata(tmp_path / "out/metadata.tsv")
    manifest = read_manifest(tmp_path / "out/test.tsv")
    assert all(manifest.audio_path(n).is_file() for n in range(len(manifest)))
    twelve = [metadata[path]["command12"] for path in manifest.paths]
    assert {label for label in twelve if label} == {*TEN_WORDS, "_silence_", "_unknown_"}
    assert twelve.count("_unknown_") == math.ceil(20 / 10)
