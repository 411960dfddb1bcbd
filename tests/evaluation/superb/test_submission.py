"""Files for SUPERB's leaderboard. The lines expected are written by hand, as s3prl's downstream experts write them."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
import soundfile

from speechssl.cli.app import main
from speechssl.evaluation.superb.data import TaskData, Utterance
from speechssl.evaluation.superb.problems.problem import Posteriors
from speechssl.evaluation.superb.submission import submission
from tests.evaluation.superb.fake_corpora import (
    write_fluent,
    write_iemocap,
    write_libri2mix,
    write_quesst14,
    write_speech_commands,
    write_trials,
)

VOXCELEB = ["id10270/5r0dWxy17C8/00001", "id10271/1gtz-CUIygI/00002"]


def texts(task: str, fold: int, data: TaskData, predictions: dict[str, Any]) -> dict[str, str]:
    return {name: content.decode() for name, content in submission(task, fold, data, predictions, None).items()}


def data(*paths: str) -> TaskData:
    return TaskData(
        Path(),
        {"test": [Utterance(f"u{number}", Path("corpus", path), 16000, {}) for number, path in enumerate(paths)]},
    )


@pytest.mark.parametrize(
    ("task", "paths", "predictions", "file", "text"),
    [
        (
            "ks",
            ["test/yes/1_nohash_0.wav"],
            {"u0": ["_unknown_"]},
            "test_predict.txt",
            "yes-1_nohash_0.wav _unknown_\n",
        ),
        (
            "sid",
            [f"wav/{VOXCELEB[0]}.wav"],
            {"u0": ["id10271"]},
            "test_predict.txt",
            "id10270-5r0dWxy17C8-00001 id10271\n",
        ),
        (
            "er",
            ["Session2/sentences/wav/a/Ses02F_impro01_F000.wav"],
            {"u0": ["neu"]},
            "test_fold2_predict.txt",
            "Ses02F_impro01_F000 neu\n",
        ),
        (
            "ic",
            ["wavs/speakers/s1/0a12.wav"],
            {"u0": ["increase", "heat", "none"]},
            "test_predict.csv",
            "0a12,increase,heat,none\n",
        ),
        ("pr", ["test-clean/61/70968/61-70968-0000.flac"], {"u0": "HH IY0"}, "test-hyp.ark", "61-70968-0000 HH IY0\n"),
        (
            "asr",
            ["test-clean/61/70968/61-70968-0000.flac"],
            {"u0": "HE BEGAN"},
            "test-clean-noLM-hyp.ark",
            "61-70968-0000 HE BEGAN\n",
        ),
        (
            "sf",
            ["test/Brian-snips-test-0.wav"],
            {"u0": "PLAY B-artist ABBA E-artist"},
            "test-hyp.ark",
            "Brian-snips-test-0 PLAY B-artist ABBA E-artist\n",
        ),
        (
            "asv",
            [f"wav/{name}.wav" for name in VOXCELEB],
            {"u1 u0": 0.25},
            "test_predict.txt",
            "id10271-1gtz-CUIygI-00002_id10270-5r0dWxy17C8-00001 0.25\n",
        ),
    ],
)
def test_lines_are_those_of_s3prl(task, paths, predictions, file, text):
    assert texts(task, 2, data(*paths), predictions) == {file: text}


def test_recognition_with_a_language_model_has_both_files():
    said = {"u0": {"best_path": "HE BEGUN", "with_lm": "HE BEGAN"}}
    assert texts("asr", 1, data("test-clean/61/70968/61-70968-0000.flac"), said) == {
        "test-clean-noLM-hyp.ark": "61-70968-0000 HE BEGUN\n",
        "test-clean-LM-hyp.ark": "61-70968-0000 HE BEGAN\n",
    }


def test_a_search_is_nist_s_list_with_what_is_two_deviations_above():
    text = texts("qbe", 1, data(), {"q1 d1": 2.5, "q1 d2": -1.25, "q2 d1": 2.0})["benchmark.stdlist.xml"]
    assert text.startswith("<?xml version='1.0' encoding='UTF-8'?>\n<stdlist ")
    root = ElementTree.fromstring(text)
    assert root.tag == "stdlist" and root.get("system_id") == "benchmark"
    found = [
        (of_query.get("termid"), term.get("file"), term.get("score"), term.get("decision"))
        for of_query in root.iter("detected_termlist")
        for term in of_query.iter("term")
    ]
    assert found == [("q1", "d1", "2.5000", "YES"), ("q1", "d2", "-1.2500", "NO"), ("q2", "d1", "2.0000", "NO")]


def test_a_translation_stands_beside_its_reference():
    task = TaskData(Path(), {"test": [Utterance("u0", Path("a.mp3"), 16000, {"translation": "Guten Tag."})]})
    text = "utt_id\thyp\tref\nu0\tGuten Morgen.\tGuten Tag.\n"
    assert texts("st", 1, task, {"u0": "Guten Morgen."}) == {"output-st-test.tsv": text}


@pytest.mark.parametrize(
    ("task", "scores", "text"),
    [
        ("se", {"pesq": 2.0, "stoi": 0.75, "si_sdr": 9.0}, "stoi 0.75\npesq 2.0\n"),
        ("se", {"stoi": 0.75, "si_sdr": 9.0}, "stoi 0.75\n"),
        ("ss", {"si_sdri": 10.5, "si_sdr": 9.0}, "si_sdr 10.5\n"),
    ],
)
def test_mean_scores_of_signals(task, scores, text):
    lower = {name: value - 1 for name, value in scores.items()}
    higher = {name: value + 1 for name, value in scores.items()}
    assert texts(task, 1, data("a.wav"), {"u0": lower, "u1": higher}) == {"test_metrics.txt": text}


def test_posteriors_stay_in_their_folder():
    heard = np.array([[0.25, 0.75], [0.5, 1.0]], dtype=np.float32)
    files = submission("sd", 1, data("a.wav"), {"../x": [[1, 0.0, 0.04]]}, Posteriors(320, {"../x": heard}))
    assert sorted(files) == ["frame_shift", "scoring/predictions/.._x.h5"] and files["frame_shift"] == b"320\n"
    with h5py.File(io.BytesIO(files["scoring/predictions/.._x.h5"])) as file:
        assert np.array_equal(file["T_hat"], heard)


def superb(task: str, root: Path, out: Path, *settings: str) -> Path:
    given = [f"task={task}", f"out_dir={out}", "encoders={}", "baselines=[fbank]", f"cache_dir={out.parent / 'cache'}"]
    fast = ["steps=4", "check_every=4", "batch_size=4", "lr=[1e-2]"]
    assert main(["evaluate", "benchmark=superb", *given, *fast, *settings, f"corpus_dir={root}"]) == 0
    return out / task / "submission"


def test_a_run_on_the_official_corpus_leaves_them(tmp_path: Path):
    write_speech_commands(tmp_path)
    folder = superb("ks", tmp_path, tmp_path / "out")
    lines = (folder / "fbank-1-seed1" / "test_predict.txt").read_text().splitlines()
    kept = (tmp_path / "out" / "ks" / "predictions" / "fbank-1-seed1.tsv").read_text().splitlines()[1:]
    assert [line.split()[1] for line in lines] == [json.loads(line.split("\t")[1])[0] for line in kept]
    audio = {path.relative_to(path.parents[1]).as_posix().replace("/", "-") for path in tmp_path.rglob("*.wav")}
    assert len(lines) == 3 and {line.split()[0] for line in lines} <= audio


def test_folds_and_trials_of_a_run(tmp_path: Path):
    folder = superb("er", write_iemocap(tmp_path / "IEMOCAP_full_release"), tmp_path / "out")
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*.txt"))
    numbers = range(1, 6)
    assert files == [f"fbank-1-seed1-session{number}/test_fold{number}_predict.txt" for number in numbers]
    write_trials(tmp_path / "VoxCeleb1")
    folder = superb("asv", tmp_path, tmp_path / "out")
    lines = (folder / "fbank-1-seed1" / "test_predict.txt").read_text().splitlines()
    names = {"-".join(path.with_suffix("").parts[-3:]) for path in (tmp_path / "VoxCeleb1").rglob("*.wav")}
    assert len(lines) == 2 and all(set(line.split()[0].split("_")) <= names for line in lines)
    assert all(-1 <= float(line.split()[1]) <= 1 for line in lines)


def test_intents_of_a_run_have_three_fields(tmp_path: Path):
    folder = superb("ic", write_fluent(tmp_path / "fluent"), tmp_path / "out")
    lines = (folder / "fbank-1-seed1" / "test_predict.csv").read_text().splitlines()
    assert lines and all(len(line.split(",")) == 4 for line in lines)


def test_s3prl_makes_of_diarization_the_segments_of_a_run(tmp_path: Path):
    root = write_libri2mix(tmp_path / "Libri2Mix")
    # One voice is a tone, the other noise, and between 0.8 and 1.2 s both are heard.
    times = np.arange(32000) / 16000
    tone, noise = np.sin(2 * np.pi * 300 * times), np.random.default_rng(0).standard_normal(32000)
    wave = 0.1 * (tone * ((times > 0.2) & (times < 1.2)) + noise * ((times > 0.8) & (times < 1.8)))
    for file in (root / "wav").glob("*.wav"):
        soundfile.write(file, wave, 16000)
    for file in root.glob("*/segments"):
        file.write_text(re.sub("b (.*) 0.25 1.98", r"b \1 0.8 1.8", file.read_text().replace("0.25 1.97", "0.2 1.2")))
    folder = superb("sd", tmp_path, tmp_path / "out", "steps=60", "check_every=60")
    (score,) = json.loads((tmp_path / "out/sd/results.json").read_text())["scores"]["fbank"]
    files = sorted((folder / "fbank-1-seed1/scoring/predictions").iterdir())
    assert [file.name for file in files] == ["test_0.h5", "test_1.h5"]

    listed, rttm = tmp_path / "files.txt", tmp_path / "out.rttm"
    listed.write_text("".join(f"{file}\n" for file in files))
    script = Path(str(find_spec("s3prl").origin)).parent / "downstream/diarization/make_rttm.py"
    chosen = [f"--threshold={score['test']['threshold']}", f"--median={int(score['test']['median_filter'])}"]
    shift = int((folder / "fbank-1-seed1/frame_shift").read_text())
    subprocess.run([sys.executable, script, listed, rttm, *chosen, f"--frame_shift={shift}"], check=True)
    theirs: dict[str, list[list[float]]] = {"test_0": [], "test_1": []}
    for _, name, _, start, seconds, _, _, speaker, _ in map(str.split, rttm.read_text().splitlines()):
        theirs[name].append([int(speaker[-1]), float(start), round(float(start) + float(seconds), 2)])
    lines = (tmp_path / "out/sd/predictions/fbank-1-seed1.tsv").read_text().splitlines()[1:]
    ours = {name: json.loads(segments) for name, segments in (line.split("\t") for line in lines)}
    assert theirs == ours and score["test"]["der"] < 0.5


def test_a_search_in_the_official_corpus_lists_every_pair(tmp_path: Path):
    out = tmp_path / "out"
    given = ["task=qbe", f"out_dir={out}", "encoders={}", "baselines=[fbank]", f"cache_dir={tmp_path / 'cache'}"]
    root = write_quesst14(tmp_path / "quesst14Database")
    assert main(["evaluate", "benchmark=superb", *given, f"corpus_dir={root}"]) == 0
    (file,) = (out / "qbe/submission").rglob("benchmark.stdlist.xml")
    found = ElementTree.parse(file).getroot()
    listed = {(q.get("termid"), t.get("file")) for q in found.iter("detected_termlist") for t in q.iter("term")}
    # Of three queries and four documents two and three are English.
    assert len(listed) == 6
    assert {query for query, _ in listed} == {"quesst14_eval_0000", "quesst14_eval_0002"}


def test_a_corpus_of_ones_own_has_none(task_dir: Path, tmp_path: Path):
    given = [f"data_dir={task_dir}", f"out_dir={tmp_path}", "encoders={}", "baselines=[fbank]"]
    fast = ["steps=4", "batch_size=4", "lr=[1e-2]", f"cache_dir={tmp_path / 'cache'}"]
    assert main(["evaluate", "benchmark=superb", "task=ks", *given, *fast]) == 0
    assert (tmp_path / "ks" / "predictions").is_dir() and not (tmp_path / "ks" / "submission").exists()
