"""Corpora of speech that tasks of LAPE take clips of, in the layouts that their archives have."""

import pytest

from speechssl.errors import UserError
from tests.data.clip_corpora import entries, reasons, touch, write


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
