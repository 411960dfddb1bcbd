"""Corpora of general audio and of the tasks of LAPE, in the layouts that their archives have."""

import json

import pytest

from speechssl.data.corpora import CorpusSettings, open_corpus
from speechssl.errors import UserError
from tests.data.clip_corpora import entries, reasons, touch, write

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


@pytest.mark.parametrize("name", CLIP_CORPORA)
def test_a_wrong_folder_is_one_line_that_says_what_was_expected(tmp_path, name):
    (tmp_path / "stray").mkdir()
    for audio_dir in ("", str(tmp_path)):
        with pytest.raises(UserError, match=f"corpus={name}.*http") as caught:
            open_corpus(CorpusSettings(name=name, audio_dir=audio_dir))
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["stray"]


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
