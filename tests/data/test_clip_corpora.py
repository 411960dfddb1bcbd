"""Corpora of general audio and of the tasks of LAPE, in the layouts that their archives have."""

import json
import math

import numpy as np
import pytest
import soundfile

from speechssl.data.corpora import CorpusSettings, open_corpus
from speechssl.data.corpora.speech_commands import OTHER_WORDS, TEN_WORDS
from speechssl.data.listing import ManifestSettings, make_manifests
from speechssl.data.manifest import read_manifest
from speechssl.data.metadata import read_metadata
from speechssl.errors import UserError

CLIP_CORPORA = [
    "birdsong",
    "esc50",
    "fsd50k",
    "iemocap",
    "nsynth",
    "speech_commands",
    "tut_urban_2018",
    "urbansound8k",
    "voxceleb1",
    "voxforge",
]


def entries(name, folder, **settings):
    corpus = open_corpus(CorpusSettings(name=name, audio_dir=str(folder), **settings))
    listed = list(corpus.entries())
    assert all(entry.labels.keys() <= set(corpus.labels) for entry in listed)
    found = {entry.path: entry for entry in listed}
    assert len(found) == len(listed)
    assert all((corpus.root / path).is_file() for path, entry in found.items() if not entry.rejected)
    return found


def reasons(found):
    return {path: entry.rejected for path, entry in found.items() if entry.rejected}


def touch(root, *names):
    """Make empty files: corpora do not read the audio."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", CLIP_CORPORA)
def test_a_wrong_folder_is_one_line_that_says_what_was_expected(tmp_path, name):
    (tmp_path / "stray").mkdir()
    for audio_dir in ("", str(tmp_path)):
        with pytest.raises(UserError, match=f"corpus={name}.*http") as caught:
            open_corpus(CorpusSettings(name=name, audio_dir=audio_dir))
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["stray"]


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


def test_voxforge_by_language_and_submission(tmp_path):
    touch(
        tmp_path,
        "fr/anna-20080318-kdl/wav/fr-0001.wav",
        "fr/Trunk/16kHz_16bit/jean-luc-20080318-k2l/flac/fr-0001.flac",
        "SpeechCorpus/anonymous-20080425-atw/wav/a0001.wav",
        "en/anonymous-20080425-bxy/wav/a0001.wav",
        "de/loose.wav",
        "nl/piet-20080318-kdl/wav/1.wav",
        "stray.wav",
    )
    found = entries("voxforge", tmp_path)
    outside = "not below a folder of a language (de, en, es, fr, it, ru)"
    assert reasons(found) == {"nl/piet-20080318-kdl/wav/1.wav": outside, "stray.wav": outside}
    labels = {path: tuple(e.labels.get(name) for name in ("language", "speaker")) for path, e in found.items()}
    assert labels["fr/anna-20080318-kdl/wav/fr-0001.wav"] == ("fr", "anna")
    assert labels["fr/Trunk/16kHz_16bit/jean-luc-20080318-k2l/flac/fr-0001.flac"] == ("fr", "jean-luc")
    assert labels["SpeechCorpus/anonymous-20080425-atw/wav/a0001.wav"] == ("en", "anonymous-20080425-atw")
    assert labels["en/anonymous-20080425-bxy/wav/a0001.wav"] == ("en", "anonymous-20080425-bxy")
    assert labels["de/loose.wav"] == ("de", None)
    assert {entry.split for entry in found.values()} == {""}


@pytest.mark.parametrize("folders", [("wav", "wav"), ("dev/wav", "test/wav")])
def test_voxceleb1_in_both_layouts(tmp_path, folders):
    dev, test = folders
    touch(tmp_path, f"{dev}/id10001/1zcIwhmdeo4/00001.wav", f"{dev}/id10001/utrA-v8pPm4/00001.wav")
    touch(tmp_path, f"{test}/id10270/5r0dWxy17C8/00001.wav", f"{test}/id10270/5r0dWxy17C8/00009.wav")
    write(
        tmp_path / "iden_split.txt",
        "1 id10001/utrA-v8pPm4/00001.wav",
        "3 id10001/1zcIwhmdeo4/00001.wav",
        "2 id10270/5r0dWxy17C8/00001.wav",
        "1 id10270/5r0dWxy17C8/00002.wav",
    )
    found = entries("voxceleb1", tmp_path)
    assert reasons(found) == {
        f"{test}/id10270/5r0dWxy17C8/00009.wav": "not in iden_split.txt",
        f"{test}/id10270/5r0dWxy17C8/00002.wav": "in iden_split.txt, but there is no such file",
    }
    assert found[f"{dev}/id10001/utrA-v8pPm4/00001.wav"].split == "train"
    assert found[f"{dev}/id10001/1zcIwhmdeo4/00001.wav"].split == "test"
    valid = found[f"{test}/id10270/5r0dWxy17C8/00001.wav"]
    assert valid.split == "valid" and valid.labels == {"speaker": "id10270", "gender": "", "video": "5r0dWxy17C8"}
    write(
        tmp_path / "vox1_meta.csv",
        "VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet",
        "id10270\tEartha_Kitt\tf\tUSA\ttest",
    )
    assert entries("voxceleb1", tmp_path)[valid.path].labels["gender"] == "f"


@pytest.mark.parametrize("line", ["4 id10001/a/1.wav", "1 id10001/1.wav", "id10001/a/1.wav", "1  "])
def test_a_broken_line_of_the_voxceleb1_list(tmp_path, line):
    (tmp_path / "wav").mkdir()
    write(tmp_path / "iden_split.txt", "1 id10001/a/2.wav", line)
    with pytest.raises(UserError, match=r"iden_split.txt line 2 is not"):
        entries("voxceleb1", tmp_path)


@pytest.fixture
def sessions(tmp_path):
    for number in range(1, 6):
        for part in ("dialog/EmoEvaluation", "sentences/wav"):
            (tmp_path / f"Session{number}/{part}").mkdir(parents=True)
    return tmp_path


def test_iemocap_with_excited_merged_and_not(sessions):
    turns = [
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]",
        "",
        "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]",
        "C-E2:\tNeutral;\t()",
        "[10.0100 - 11.3925]\tSes01F_impro01_M000\texc\t[2.5000, 2.5000, 2.5000]",
        "[14.8872 - 18.0175]\tSes01F_impro01_M001\tfru\t[2.5000, 2.5000, 2.5000]",
        "[19.0 - 20.0]\tSes01F_impro01_M002\thap\t[2.5000, 2.5000, 2.5000]",
    ]
    write(sessions / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt", *turns)
    write(
        sessions / "Session5/dialog/EmoEvaluation/Ses05M_script01_1b.txt",
        "[1.0 - 2.0]\tSes05M_script01_1b_F003\tsad\t[2.0, 2.5, 2.5]",
    )
    (sessions / "Session1/dialog/EmoEvaluation/._Ses01F_impro01.txt").write_bytes(b"\0\xff[")
    first, second = "Session1/sentences/wav/Ses01F_impro01", "Session5/sentences/wav/Ses05M_script01_1b"
    touch(sessions, *(f"{first}/Ses01F_impro01_{turn}.wav" for turn in ("F000", "M000", "M001", "M777")))
    touch(sessions, f"{second}/Ses05M_script01_1b_F003.wav")
    found = entries("iemocap", sessions)
    assert reasons(found) == {
        f"{first}/Ses01F_impro01_M777.wav": "not in dialog/EmoEvaluation",
        f"{first}/Ses01F_impro01_M002.wav": "in dialog/EmoEvaluation, but there is no such file",
    }
    emotions = {
        path.rpartition("_")[2]: tuple(e.labels[name] for name in ("emotion", "emotion4", "emotion4_unmerged"))
        for path, e in found.items()
        if e.labels
    }
    assert emotions == {
        "F000.wav": ("neu", "neu", "neu"),
        "M000.wav": ("exc", "hap", ""),
        "M001.wav": ("fru", "", ""),
        "M002.wav": ("hap", "hap", "hap"),
        "F003.wav": ("sad", "sad", "sad"),
    }
    said = found[f"{first}/Ses01F_impro01_M000.wav"].labels
    # The first F is the actress with markers; the M says who speaks.
    assert (said["speaker"], said["gender"], said["session"], said["act"]) == ("Ses01M", "m", "Session1", "improvised")
    said = found[f"{second}/Ses05M_script01_1b_F003.wav"].labels
    assert (said["speaker"], said["gender"], said["session"], said["act"]) == ("Ses05F", "f", "Session5", "scripted")


def test_iemocap_with_a_broken_table(sessions):
    write(sessions / "Session2/dialog/EmoEvaluation/Ses02F_impro01.txt", "% head", "[6.2901 - 8.2357] Ses02F neu")
    with pytest.raises(UserError, match=r"Ses02F_impro01.txt line 2 is not"):
        entries("iemocap", sessions)


def note(name):
    instrument, pitch, velocity = name.split("-")
    family, source, _ = instrument.rsplit("_", 2)
    return {
        "note": 7,
        "note_str": name,
        "instrument": 3,
        "instrument_str": instrument,
        "pitch": int(pitch),
        "velocity": int(velocity),
        "sample_rate": 16000,
        "qualities": [0, 1],
        "qualities_str": ["dark"],
        "instrument_family": 0,
        "instrument_family_str": family,
        "instrument_source": 2,
        "instrument_source_str": source,
    }


def test_nsynth_in_its_three_parts(tmp_path):
    names = {
        "train": ["bass_synthetic_033-022-050", "synth_lead_synthetic_001-060-127"],
        "valid": ["organ_electronic_001-060-075"],
        "test": ["string_acoustic_057-070-127", "guitar_acoustic_010-066-100"],
    }
    for split, notes in names.items():
        write(tmp_path / f"nsynth-{split}/examples.json", json.dumps({name: note(name) for name in notes}))
        touch(tmp_path, *(f"nsynth-{split}/audio/{name}.wav" for name in notes))
    (tmp_path / "nsynth-test/audio/guitar_acoustic_010-066-100.wav").unlink()
    touch(tmp_path, "nsynth-test/audio/more.wav")
    found = entries("nsynth", tmp_path)
    assert reasons(found) == {
        "nsynth-test/audio/more.wav": "not in examples.json",
        "nsynth-test/audio/guitar_acoustic_010-066-100.wav": "in examples.json, but there is no such file",
    }
    assert found["nsynth-train/audio/synth_lead_synthetic_001-060-127.wav"].labels == {
        "instrument_family": "synth_lead",
        "instrument": "synth_lead_synthetic_001",
        "instrument_source": "synthetic",
        "pitch": "60",
        "velocity": "127",
    }
    assert {entry.split for entry in found.values() if not entry.rejected} == {"train", "valid", "test"}
    (tmp_path / "nsynth-valid/examples.json").write_text('{"a": {"note_str": "a", "pitch": 3}}')
    with pytest.raises(UserError, match=r"nsynth-valid/examples.json is not .*a has no instrument_family_str"):
        entries("nsynth", tmp_path)


def test_birdsong_with_one_folder_for_each_set(tmp_path):
    write(tmp_path / "ff/ff1010bird_metadata_2018.csv", "itemid,datasetid,hasbird", "64486,ff1010bird,0", "2525,x,1")
    write(tmp_path / "warblr/warblrb10k_public_metadata.csv", "itemid,hasbird", "759808e5-f824,1", "gone-1,0")
    touch(tmp_path, "ff/wav/64486.wav", "ff/wav/2525.wav", "warblr/wav/759808e5-f824.wav", "warblr/wav/new.wav")
    found = entries("birdsong", tmp_path)
    assert found["ff/wav/64486.wav"].labels == {"hasbird": "0", "dataset": "ff1010bird"}
    assert found["warblr/wav/759808e5-f824.wav"].labels == {"hasbird": "1", "dataset": "warblrb10k"}
    assert reasons(found) == {
        "warblr/wav/new.wav": "not in the tables of labels",
        "warblr/wav/gone-1.wav": "in the tables of labels, but there is no such file",
    }
    assert {entry.split for entry in found.values()} == {""}


def test_birdsong_unpacked_into_one_folder(tmp_path):
    write(tmp_path / "ff1010bird_metadata.csv", "itemid,hasbird", "64486,0")
    touch(tmp_path, "wav/64486.wav", "wav/759808e5-f824.wav")
    with pytest.raises(UserError, match=r"has no warblrb10k_public_metadata.csv beside a folder wav"):
        entries("birdsong", tmp_path)
    write(tmp_path / "warblrb10k_public_metadata.csv", "itemid,hasbird", "759808e5-f824,1")
    found = entries("birdsong", tmp_path)
    assert {path: entry.labels["dataset"] for path, entry in found.items()} == {
        "wav/64486.wav": "ff1010bird",
        "wav/759808e5-f824.wav": "warblrb10k",
    }


def test_tut_urban_2018_with_its_fold(tmp_path):
    names = ["airport-barcelona-0-0-a", "street_traffic-london-12-7-a", "bus-paris-3-1-a", "tram-vienna-1-1-a"]
    paths = [f"audio/{name}.wav" for name in names]
    write(
        tmp_path / "meta.csv",
        "filename\tscene_label\tidentifier\tsource_label",
        *(f"{path}\t{name.split('-')[0]}\tx\ta" for path, name in zip(paths, names, strict=True)),
    )
    write(tmp_path / "evaluation_setup/fold1_train.txt", f"{paths[0]}\tairport", f"{paths[3]}\ttram")
    write(tmp_path / "evaluation_setup/fold1_evaluate.txt", f"{paths[1]}\tstreet_traffic", "audio/x.wav\tbus")
    touch(tmp_path, *paths[:3], "audio/y.wav")
    found = entries("tut_urban_2018", tmp_path)
    assert reasons(found) == {
        paths[2]: "in no list of evaluation_setup",
        paths[3]: "in meta.csv, but there is no such file",
        "audio/y.wav": "not in meta.csv",
        "audio/x.wav": "in a list of evaluation_setup, but not in meta.csv",
    }
    assert (found[paths[0]].split, found[paths[1]].split) == ("train", "test")
    assert found[paths[1]].labels == {"scene": "street_traffic", "city": "london", "location": "london-12"}


def test_urbansound8k_with_its_folds(tmp_path):
    table = tmp_path / "metadata/UrbanSound8K.csv"
    header = "slice_file_name,fsID,start,end,salience,fold,classID,class"
    rows = ["100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark", "7-1-0-0.wav,7,0.0,4.0,2,10,1,car_horn"]
    write(table, header, *rows)
    touch(tmp_path, "audio/fold5/100032-3-0-0.wav", "audio/fold10/7-1-0-0.wav", "audio/fold1/9-1-0-0.wav")
    found = entries("urbansound8k", tmp_path)
    labels = {"class": "dog_bark", "fold": "5", "salience": "1", "source": "100032"}
    assert found["audio/fold5/100032-3-0-0.wav"].labels == labels
    assert found["audio/fold10/7-1-0-0.wav"].labels["fold"] == "10"
    assert reasons(found) == {"audio/fold1/9-1-0-0.wav": "not in metadata/UrbanSound8K.csv"}
    write(table, header, *rows, rows[0])
    with pytest.raises(UserError, match=r"names audio/fold5/100032-3-0-0.wav a second time"):
        entries("urbansound8k", tmp_path)


def test_esc50_with_its_folds(tmp_path):
    table = tmp_path / "meta/esc50.csv"
    header = "filename,fold,target,category,esc10,src_file,take"
    write(table, header, "1-100032-A-0.wav,1,0,dog,True,100032,A", "5-9032-A-0.wav,5,0,hen,False,9032,A")
    touch(tmp_path, "audio/1-100032-A-0.wav")
    found = entries("esc50", tmp_path)
    labels = {"category": "dog", "fold": "1", "esc10": "True", "source": "100032"}
    assert found["audio/1-100032-A-0.wav"].labels == labels
    assert reasons(found) == {"audio/5-9032-A-0.wav": "in meta/esc50.csv, but there is no such file"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"filename,fold,target\na.wav,1,0\n", "has no column 'category'"),
        (b"filename,fold,category,esc10,src_file\na.wav,1,dog,True,3\nb.wav,1\n", "line 3 has another number"),
        (b"filename,fold,category,esc10,src_file\na.wav,1,dog,True,3,4\n", "line 2 has another number"),
        ("filename,fold,category,esc10,src_file\nä.wav,1,dog,True,3\n".encode("latin-1"), "not a table in UTF-8"),
        (b"", "has no column 'filename'"),
    ],
)
def test_a_broken_table_is_named(tmp_path, content, message):
    (tmp_path / "audio").mkdir()
    write(tmp_path / "meta/esc50.csv")
    (tmp_path / "meta/esc50.csv").write_bytes(content)
    with pytest.raises(UserError, match=rf"esc50.csv .*{message}"):
        entries("esc50", tmp_path)


def test_fsd50k_with_several_labels_a_clip(tmp_path):
    truth = tmp_path / "FSD50K.ground_truth"
    rows = ['64760,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf",train', "21914,Bark,/m/05tny_,val"]
    write(truth / "dev.csv", "fname,labels,mids,split", *rows)
    write(truth / "eval.csv", "fname,labels,mids", '37199,"Bark,Dog","/m/05tny_,/m/0bt9lr"', "1,Bark,/m/05tny_")
    touch(tmp_path, "FSD50K.dev_audio/64760.wav", "FSD50K.dev_audio/21914.wav", "FSD50K.eval_audio/37199.wav")
    touch(tmp_path, "FSD50K.eval_audio/64760.wav")
    found = entries("fsd50k", tmp_path)
    assert found["FSD50K.dev_audio/64760.wav"].labels == {"labels": "Electric_guitar,Guitar,Music"}
    splits = {path: entry.split for path, entry in found.items() if not entry.rejected}
    assert splits == {
        "FSD50K.dev_audio/64760.wav": "train",
        "FSD50K.dev_audio/21914.wav": "valid",
        "FSD50K.eval_audio/37199.wav": "test",
    }
    assert reasons(found) == {
        "FSD50K.eval_audio/64760.wav": "not in the tables of FSD50K.ground_truth",
        "FSD50K.eval_audio/1.wav": "in the tables of FSD50K.ground_truth, but there is no such file",
    }
    write(truth / "dev.csv", "fname,labels,mids,split", "64760,Bark,/m/05tny_,dev")
    with pytest.raises(UserError, match="the split of 64760 is 'dev', not train or val"):
        entries("fsd50k", tmp_path)
