"""A few generated files in the layouts of SUPERB's official corpora."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import soundfile


def audio(path: Path, samples: int = 1600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(samples).standard_normal(samples), 16000)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


LEXICON = ("THE DH AH0", "THE  DH IY0", "TRA T R AA1", "DEV D EH1 V", "TES T EH1 S")


def write_librispeech(root: Path) -> Path:
    text(
        root / "SPEAKERS.TXT",
        ";ID |SEX| SUBSET |MINUTES| NAME",
        "19 | F | x | 25.1 | A",
        "84 | M | x | 25.1 | B",
        "61|M|x|1|C",
    )
    for part, speaker in (("train-clean-100", 19), ("dev-clean", 84), ("test-clean", 61)):
        for chapter in (100, 23):
            folder = root / part / str(speaker) / str(chapter)
            names = [f"{speaker}-{chapter}-000{number}" for number in range(2)]
            text(folder / f"{speaker}-{chapter}.trans.txt", *(f"{name} THE {part[:3].upper()}" for name in names))
            for name in names:
                audio(folder / f"{name}.flac")
    return root


def write_speech_commands(root: Path) -> tuple[Path, Path]:
    """Enough speakers that all three parts of the official rule have some."""
    words, test = root / "speech_commands_v0.01", root / "speech_commands_test_set_v0.01"
    for number in range(30):
        speaker = hashlib.sha1(str(number).encode()).hexdigest()[:8]
        audio(words / ("yes", "go", "bed")[number % 3] / f"{speaker}_nohash_{number % 2}.wav")
    audio(words / "_background_noise_" / "tap.wav", 40000)
    text(words / "_background_noise_" / "README.md", "noise")
    for name in ("yes/a_nohash_0.wav", "_unknown_/bed_b_nohash_0.wav"):
        audio(test / name)
    audio(test / "_silence_" / "c.wav", 16000)
    return words, test


VOX = ("1 id10001/aaa/00001.wav", "2 id10001/bbb/00001.wav", "3 id10002/ccc/00001.wav", "1 id10270/ddd/00002.wav")


def write_voxceleb1(root: Path) -> Path:
    text(root / "iden_split.txt", *VOX)
    for line in VOX:
        path = line.split()[1]
        audio(root / ("test" if "10270" in path else "dev") / "wav" / path)
    return root


TRIALS = (
    "1 id10270/ddd/00002.wav id10270/eee/00001.wav",
    "0 id10270/ddd/00002.wav id10271/fff/00001.wav",
)


def write_trials(root: Path) -> Path:
    """VoxCeleb1 with speakers enough to hold some out, and an utterance of a test speaker that is in no trial."""
    speakers = ("id10001", "id10002", "id10003", "id10004", "id10270", "id10271")
    spoken = [
        f"{speaker}/{video}/0000{n}.wav" for speaker in speakers for video in ("ddd", "eee", "fff") for n in (1, 2)
    ]
    text(root / "iden_split.txt", *(f"{1 + number % 3} {path}" for number, path in enumerate(spoken)))
    for path in spoken:
        audio(root / ("test" if path[:7] in speakers[4:] else "dev") / "wav" / path, 8000)
    text(root / "veri_test2.txt", *TRIALS)
    return root


def write_libri2mix(root: Path) -> Path:
    for folder in ("train", "dev", "test"):
        names = [f"{folder}_{number}" for number in range(2)]
        for name in names:
            audio(root / "wav" / f"{name}.wav", 32000)
        text(root / folder / "wav.scp", *(f"{name} {root}/wav/{name}.wav" for name in names))
        text(root / folder / "reco2dur", *(f"{name} 2.0" for name in names))
        stretches = [(f"{name}_{who}", name, who) for name in names for who in "ab"]
        text(
            root / folder / "segments", *(f"{utterance} {name} 0.25 1.{ord(who)}" for utterance, name, who in stretches)
        )
        text(root / folder / "utt2spk", *(f"{utterance} {who}" for utterance, _, who in stretches))
    return root


LIBRI2MIX_SPEECH = (
    ("19", "198-0000", 0.25, 0.5),
    ("19", "198-0000", 1.0, 0.5),
    ("26", "495-0001", 0.125, 1.5),
    ("27", "123349-0002", 0.5, 1.25),
)
"""When each utterance is speech: speaker, chapter and number, start and length in seconds."""


def write_libri2mix_speech(root: Path) -> Path:
    """As LibriMix leaves it, with the RTTM of s3prl's LibriMix beside it."""
    for folder, rttm in (("train-100", "train_clean_100"), ("dev", "dev_clean"), ("test", "test_clean")):
        for name in ("19-198-0000_26-495-0001", "27-123349-0002_19-198-0000"):
            audio(root / "wav16k" / "max" / folder / "mix_both" / f"{name}.wav", 32000)
        text(
            root / f"{rttm}.rttm",
            *(
                f"SPEAKER {utterance} 1   {start:.3f}   {length:.3f} <NA> <NA> {speaker} <NA> <NA>"
                for speaker, utterance, start, length in LIBRI2MIX_SPEECH
            ),
        )
    return root


def write_fluent(root: Path) -> Path:
    header = ",path,speakerId,transcription,action,object,location"
    for number, part in enumerate(("train", "valid", "test")):
        path = f"wavs/speakers/s{number}/{part}.wav"
        lines = [f'0,{path},s{number},"Turn on, please",activate,lights,none']
        audio(root / path)
        if part == "train":
            lines.append(f"1,wavs/speakers/s{number}/off.wav,s{number},Turn off,deactivate,lights,none")
            audio(root / f"wavs/speakers/s{number}/off.wav")
        text(root / "data" / f"{part}_data.csv", header, *lines)
    return root


SNIPS = {
    "Ivy-snips-train-0": "BOS PLAY ÁGUA & FIRE ? EOS\tO O song song song O PlayMusic",
    "Salli-snips-train-1": "BOS ADD \N{EN DASH} IT . EOS\tO O O O O AddToPlaylist",
    "Amy-snips-valid-0": "BOS RATE IT EOS\tO O object_name RateBook",
    "Emma-snips-test-0": "BOS BOOK A TABLE EOS\tO O O x BookRestaurant",
    "Ivy-snips-test-0": "BOS HEARD IN TRAINING EOS\tO O O O O RateBook",
}


def write_snips(root: Path) -> Path:
    text(root / "all.iob.snips.txt", *(f"{name} {line}" for name, line in SNIPS.items()))
    for name in [*SNIPS, "Ivy-snips-train-9"]:
        audio(root / name.split("-")[2] / f"{name}.wav")
    return root


def write_iemocap(root: Path) -> Path:
    emotions = ("neu", "hap", "exc", "sad", "ang", "fru")
    for session in range(1, 6):
        for dialog in (f"Ses0{session}F_impro01", f"Ses0{session}M_script01_1"):
            lines = [
                f"[{number}.0000 - {number}.5000]\t{dialog}_F00{number}\t{emotion}\t[2.5, 2.5, 2.5]"
                for number, emotion in enumerate(emotions)
            ]
            text(root / f"Session{session}/dialog/EmoEvaluation/{dialog}.txt", "% header", *lines)
            for number in range(len(emotions)):
                audio(root / f"Session{session}/sentences/wav/{dialog}/{dialog}_F00{number}.wav")
    return root


COVOST = (
    ("a.mp3", "How are you ?", "Wie geht es „dir“ ?", "train"),
    ("b.mp3", 'He said "no".', 'Er sagte "nein".', "train_covost"),
    ("c.mp3", "Yes.", "Ja, ja, ja, ja, ja, ja.", "train"),
    ("d.mp3", "Good.", "REMOVE", "train"),
    ("e.mp3", "Hello.", "Hallo.", "dev"),
    ("f.mp3", "Bye.", "Auf Wiedersehen.", "test"),
    ("g.mp3", "Bye bye.", "Tschüss.", "test_covost"),
    ("h.mp3", "", "Nicht in dieser Ausgabe.", "test"),
)


def write_covost(root: Path) -> Path:
    """Every kind of line; the last one has no recording."""
    text(
        root / "covost_v2.en_de.tsv",
        "path\ttranslation\tsplit\tclient_id",
        *(f"{path}\t{german}\t{split}\tx" for path, _, german, split in COVOST),
    )
    spoken = [(path, english) for path, english, _, _ in COVOST if english]
    text(
        root / "validated.tsv",
        "client_id\tpath\tsentence\tage\tgender",
        *(f"me\t{path}\t{english}\tteens\tother" for path, english in spoken),
    )
    for path, _ in spoken:
        audio(root / "clips" / path)
    return root


def write_voicebank(root: Path) -> Path:
    for part, names in (
        ("trainset_28spk", ("p226_001", "p287_005", "p228_002", "p230_003")),
        ("testset", ("p232_001", "p257_004")),
    ):
        for kind in ("clean", "noisy"):
            for name in names:
                audio(root / f"{kind}_{part}_wav" / f"{name}.wav")
    (root / "log_testset.txt").write_text("p232_001 bus 17.5\n")
    return root


def write_libri2mix_sources(root: Path) -> Path:
    for folder in ("train-100", "dev", "test"):
        for name in ("mix_clean", "s1", "s2"):
            for number in range(5):
                audio(root / "wav16k" / "min" / folder / name / f"{number}-{folder}_9-1-0003.wav")
    return root


QUESST_LANGUAGES = ("nnenglish", "czech", "nnenglish", "nnenglish")


def write_quesst14(root: Path) -> Path:
    """Four documents and three queries a set; the Czech ones count in the official scoring, and are not searched."""
    documents = [(f"Audio/quesst14_0000{n}", language) for n, language in enumerate(QUESST_LANGUAGES, start=1)]
    lists = {"utterances": documents}
    for name in ("dev", "eval"):
        queries = [(f"{name}_queries/quesst14_{name}_000{n}", QUESST_LANGUAGES[n]) for n in range(3)]
        lists[name] = queries
        truth = [("00001", "0000"), ("00003", "0000"), ("00002", "0001"), ("00004", "0002")]
        text(
            root / f"scoring/groundtruth_quesst14_{name}/quesst14_{name}.rttm",
            "SPEAKER quesst14_00001 1 0.00 2.00 <NA> <NA> speaker <NA>",
            "LEXEME quesst14_00004 1 0.00 2.00 NO_KEYWORD lex speaker 1.0",
            *(
                f"LEXEME quesst14_{document} 1 0.00 2.00 quesst14_{name}_{query} lex speaker 1.0"
                for document, query in truth
            ),
        )
    for name, listed in lists.items():
        lines = [f"quesst14Database/{path}.wav {language}" for path, language in listed]
        text(root / f"scoring/language_key_{name}.lst", *lines)
        for number, (path, _) in enumerate(listed):
            audio(root / f"{path}.wav", 8000 + 160 * number)
    return root
