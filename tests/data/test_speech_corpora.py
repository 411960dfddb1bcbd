"""Corpora that evaluation tests on: TIMIT, flite, unseen voices of Asterisk."""

import pytest

from speechssl.data.alignments import Segment
from speechssl.data.corpora import CorpusSettings, open_corpus
from speechssl.data.corpora.asterisk_voices import VOICES as ASTERISK
from speechssl.data.corpora.flite import SENTENCES, parse_durations
from speechssl.data.corpora.timit import MERGED_PHONES
from speechssl.errors import UserError


def entries(name, **settings):
    return {entry.path: entry for entry in open_corpus(CorpusSettings(name=name, **settings)).entries()}


def test_timit_in_both_layouts(tmp_path, write_noise):
    for name in ("TRAIN/DR1/FCJF0/SA1", "TEST/DR2/MABC0/SX9", "dr3-falk0/si1"):
        write_noise(tmp_path / f"{name}.wav")
    upper = tmp_path / "TRAIN/DR1/FCJF0/SA1"
    upper.with_suffix(".PHN").write_text("0 3050 h#\n3050 4559 sh\n4559 5723 ix\n5723 6000 q\n6000 7000 bcl\n")
    upper.with_suffix(".TXT").write_text("0 46797 She had your dark suit.\n")
    (tmp_path / "dr3-falk0/si1.phn").write_text("0 1600 aa\n")
    found = entries("timit", audio_dir=str(tmp_path))
    train = found["TRAIN/DR1/FCJF0/SA1.wav"]
    assert train.labels == {"speaker": "fcjf0", "gender": "f", "dialect": "dr1", "text": "She had your dark suit."}
    assert train.split == "train" and found["dr3-falk0/si1.wav"].split == ""
    # The glottal stop is left out, closures and pauses are silence, ix is ih (Lee and Hon 1989).
    assert [segment.phone for segment in train.alignment] == ["sil", "sh", "ih", "sil"]
    assert train.alignment[1] == Segment(3050 / 16000, 4559 / 16000, "sh")
    assert found["dr3-falk0/si1.wav"].labels["speaker"] == "falk0"
    assert found["TEST/DR2/MABC0/SX9.wav"].rejected == "no .phn file beside it"


def test_timit_has_39_phones():
    table = """
    aa ae ah ao aw ax ax-h axr ay b bcl ch d dcl dh dx eh el em en eng epi er ey f g gcl h# hh hv ih ix iy jh
    k kcl l m n ng nx ow oy p pau pcl q r s sh t tcl th uh uw ux v w y z zh
    """
    phones = table.split()
    assert len(phones) == 61
    assert len({MERGED_PHONES.get(phone, phone) for phone in phones if phone != "q"}) == 39


def test_timit_with_a_broken_phone_file(tmp_path, write_noise):
    write_noise(tmp_path / "dr1-fabc0/sa1.wav")
    (tmp_path / "dr1-fabc0/sa1.phn").write_text("0 100 aa\n100 b\n")
    with pytest.raises(UserError, match=r"sa1.phn line 2 is not `first last phone`"):
        entries("timit", audio_dir=str(tmp_path))


def test_durations_of_flite():
    segments = parse_durations("pau:0.220 ax:0.306 pau:0.500 \n")
    assert segments == [Segment(0.0, 0.22, "pau"), Segment(0.22, 0.306, "ax"), Segment(0.306, 0.5, "pau")]
    for broken in ("pau:0.2 ax", "pau:0.2 ax:0.1", "clunits: can't find"):
        with pytest.raises(UserError, match="flite printed"):
            parse_durations(broken)


def test_flite_runs_in_the_unpacked_packages_and_appears_whole(tmp_path):
    """A program that stands for flite writes a recording and prints its durations."""
    program = tmp_path / "debian/flite/usr/bin/flite"
    program.parent.mkdir(parents=True)
    (tmp_path / "debian/libflite1/usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\n[ "$1" = -lv ] && exit 0\ncase $LD_LIBRARY_PATH in */x86_64-linux-gnu) ;; *) exit 3 ;; esac\n'
        'echo "pau:0.1 ax:0.3"\necho "$2" > "$7"\n'
    )
    program.chmod(0o755)
    found = entries("flite", downloads=str(tmp_path))
    splits = {split: [e for e in found.values() if e.split == split] for split in ("train", "valid", "test")}
    said = {split: {e.labels["text"] for e in members} for split, members in splits.items()}
    speakers = {split: {e.labels["speaker"] for e in members} for split, members in splits.items()}
    assert not said["train"] & said["test"] and not speakers["train"] & speakers["test"]
    assert speakers == {"train": {"kal", "slt"}, "valid": {"awb"}, "test": {"rms"}}
    assert all(entry.alignment[1] == Segment(0.1, 0.3, "ax") for entry in found.values())
    root = open_corpus(CorpusSettings(name="flite", downloads=str(tmp_path))).root
    assert all((root / path).read_text().strip() == path.split("/")[0] for path in found)
    program.unlink()  # made once: flite is not asked again
    assert entries("flite", downloads=str(tmp_path)).keys() == found.keys()


def test_flite_that_fails_leaves_nothing(tmp_path):
    program = tmp_path / "debian/flite/usr/bin/flite"
    program.parent.mkdir(parents=True)
    (tmp_path / "debian/libflite1").mkdir()
    program.write_text('#!/bin/sh\n[ "$1" = -lv ] && exit 0\necho no voice >&2\nexit 1\n')
    program.chmod(0o755)
    with pytest.raises(UserError, match=r"flite failed on '.*': no voice"):
        entries("flite", downloads=str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["debian"]


def test_sentences_are_our_own_and_differ():
    assert len(set(SENTENCES)) == len(SENTENCES) > 90
    assert all(sentence[-1] in ".?" and sentence.count(".") <= 1 for sentence in SENTENCES)


def test_unseen_voices_of_asterisk(tmp_path, write_noise):
    for package, (name, _) in ASTERISK.items():
        sounds = tmp_path / "debian" / package / "usr/share/asterisk/sounds"
        write_noise(sounds / name / "digits/1.wav")
        write_noise(sounds / name / "beep.wav")
        (sounds / "digits").mkdir()
        (sounds / "digits" / name).symlink_to(f"../{name}/digits")
    found = entries("asterisk_voices", downloads=str(tmp_path))
    assert len(found) == 6 and {entry.split for entry in found.values()} == {"test"}
    speech = [entry for entry in found.values() if not entry.rejected]
    assert sorted(entry.labels["language"] for entry in speech) == ["es", "fr", "it"]
    assert {entry.labels["prompt"] for entry in speech} == {"digits/1"}
    assert {entry.labels["speaker"] for entry in speech} == {"it-menardi", "fr-armelle", "es-co"}


@pytest.mark.parametrize("name", ["flite", "asterisk_voices"])
def test_a_folder_is_refused_where_it_has_no_meaning(tmp_path, name):
    with pytest.raises(UserError, match=r"has no corpus\.audio_dir"):
        entries(name, audio_dir=str(tmp_path))
