"""Where encoders stand among published ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechssl.evaluation.superb.leaderboard import difference, published_rows
from speechssl.evaluation.superb.official import lacking
from speechssl.evaluation.superb.overview import OVERVIEW
from speechssl.evaluation.superb.published import PUBLISHED, superb_score
from speechssl.evaluation.superb.tables import captions, overview_table, task_table
from tests.evaluation.superb.made_up import published_tasks, task_results

KS = task_results("ks", {"tiny": {"accuracy": 0.9}})
STAND_IN = task_results("asr", {"tiny": {"wer": 0.5, "cer": 0.25}}, corpus_dir=None)


def write(folder: Path, tasks: list[dict]) -> dict:
    for results in tasks:
        file = folder / results["task"]["name"] / "results.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(results))
    OVERVIEW.write(folder)
    return json.loads((folder / "results.json").read_text())


def test_published_scores_stand_beside_the_official_corpus_only():
    rows = {row[0]: row[1:] for row in overview_table([KS, STAND_IN])}
    assert rows["encoder"] == ["KS accuracy ↑", "ASR wer ↓ (stand-in)"]
    assert rows["tiny"] == ["90.00", "50.00"]
    assert rows["FBANK (published)"] == ["8.63", "-"] and rows["HuBERT Base (published)"] == ["96.30", "-"]
    assert "wav2vec 2.0 Base (published)" not in rows, "nothing of it is known in this task"
    assert [row[0] for row in overview_table([STAND_IN])] == ["encoder", "tiny"]


def test_the_table_of_a_task_has_all_of_its_published_scores():
    slots = task_results("sf", {"tiny": {"slot_type_f1": 0.5, "slot_value_cer": 0.4}})
    rows = {row[0]: row[1:] for row in task_table(slots)}
    assert rows["encoder"][:2] == ["slot_type_f1 (valid)", "slot_type_f1 (test)"]
    assert rows["tiny"] == ["25.00", "50.00", "20.00", "40.00", "0.001", "768"]
    assert rows["wav2vec 2.0 Base (published)"] == ["-", "88.30", "-", "24.77", "-", "-"]
    assert not [row for row in task_table(STAND_IN) if "published" in row[0]]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ""),
        ({"corpus_dir": None}, "stand-in"),
        ({"preset": "quick"}, "other training"),
        ({"steps": 300}, "other training"),
        ({"batch_size": 8}, "other training"),
        ({"check_every": 200_000}, "other training"),
        ({"labels": ["gender"]}, "other training"),
    ],
)
def test_what_makes_a_task_comparable(settings, expected):
    assert difference(task_results("ks", {"tiny": {"accuracy": 0.9}}, **settings)) == expected


@pytest.mark.parametrize(
    ("task", "part", "few_lost", "many_lost"),
    [
        ("ks", "test", 3060, 300),
        ("ks", "train", 51000, 5000),
        ("sid", "valid", 6900, 690),
        ("er", "train", 4440, 3000),
        ("asv", "train", 148_000, 14_800),
    ],
)
def test_a_part_of_the_corpus_is_not_the_corpus(task: str, part: str, few_lost: int, many_lost: int):
    metric = "eer" if task == "asv" else "accuracy"
    results = task_results(task, {"tiny": {metric: 0.9}})
    results["task"]["utterances"][part] = few_lost
    assert difference(results) == ""
    results["task"]["utterances"][part] = many_lost
    assert difference(results) == "part of the corpus" and not published_rows([results])


def test_parts_that_are_drawn_count_together():
    results = task_results("asv", {"tiny": {"eer": 0.1}})
    results["task"]["utterances"] |= {"train": 140_000, "valid": 8_642}
    assert difference(results) == ""


def test_all_folds_count_together():
    assert not list(lacking("er", {"folds": 5531}))
    assert list(lacking("er", {"folds": 50})) == ["folds: 50 of the 5531 utterances of the official corpus"]


def test_another_head_is_another_training():
    assert difference(task_results("asr", {"tiny": {"wer": 0.5, "cer": 0.25}}, head_width=128)) == "other training"
    assert difference(task_results("asr", {"tiny": {"wer": 0.5, "cer": 0.25}}, head_bf16=True)) == "other training"


def test_phones_of_another_lexicon_are_not_those_of_published_scores():
    results = task_results("pr", {"tiny": {"per": 0.1}})
    assert difference(results) == ""
    results["task"]["published_phones"] = False
    assert difference(results) == "other phones"
    assert "HuBERT Base (published)" not in [row[0] for row in overview_table([results])]


def test_speech_enhancement_that_is_chosen_without_pesq_is_another_training():
    scores = {"pesq": 2.5, "stoi": 0.9, "si_sdr": 8.0}
    assert difference(task_results("se", {"tiny": scores})) == ""
    del scores["pesq"]
    assert difference(task_results("se", {"tiny": scores})) == "other training"


def test_a_search_has_no_training_to_differ_in():
    search = task_results("qbe", {"tiny": {"mtwv": 0.05}}, preset="quick")
    assert difference(search) == "other training"
    del search["task"]["steps"]
    assert difference(search) == "" and published_rows([search])["FBANK"] == {("qbe", "mtwv"): 0.0058}


def test_what_cannot_be_compared_is_said():
    assert "Not to be compared with published scores: ASR (stand-in)." in captions([KS, STAND_IN])
    assert any("2105.01051" in line for line in captions([KS, STAND_IN]))
    assert not any("2105.01051" in line for line in captions([STAND_IN]))


def test_the_baseline_is_not_called_the_published_one():
    assert not any("fbank" in line for line in captions([KS]))
    ours = task_results("ks", {"fbank": {"accuracy": 0.5}})
    assert any("The baseline fbank is not the published FBANK" in line for line in captions([ours]))


def test_published_rows_are_those_of_the_papers():
    """In per cent, as the papers have them; ours are shares."""
    papers = {
        "FBANK": [82.01, 23.18, 8.63, 0.58, 0.0, 9.56, 10.05, 9.10, 69.64, 52.94, 35.39],
        "HuBERT Base": [5.41, 6.42, 96.30, 7.36, 81.42, 5.11, 5.88, 98.34, 88.53, 25.20, 64.92],
        "HuBERT Large": [3.53, 3.62, 95.29, 3.53, 90.33, 5.98, 5.75, 98.76, 89.81, 21.76, 67.62],
    }
    metrics = [
        ("pr", "per"), ("asr", "wer"), ("ks", "accuracy"), ("qbe", "mtwv"), ("sid", "accuracy"), ("asv", "eer"),
        ("sd", "der"), ("ic", "accuracy"), ("sf", "slot_type_f1"), ("sf", "slot_value_cer"), ("er", "accuracy"),
    ]  # fmt: skip
    for name, row in papers.items():
        assert [100 * PUBLISHED[name][metric] for metric in metrics] == pytest.approx(row)


def test_the_superb_score_by_hand():
    """HuBERT Base, from the published tables: each task's way from FBANK to the best, in thousandths."""
    best = {"pr": 3.53, "asr": 3.62, "ks": 96.79, "qbe": 8.70, "sid": 90.33, "asv": 4.69, "sd": 3.24, "ic": 98.76}
    fbank = {"pr": 82.01, "asr": 23.18, "ks": 8.63, "qbe": 0.58, "sid": 0.0, "asv": 9.56, "sd": 10.05, "ic": 9.10}
    hubert = {"pr": 5.41, "asr": 6.42, "ks": 96.30, "qbe": 7.36, "sid": 81.42, "asv": 5.11, "sd": 5.88, "ic": 98.34}
    ways = [(hubert[task] - fbank[task]) / (best[task] - fbank[task]) for task in best]
    slots = ((88.53 - 69.64) / (89.81 - 69.64) + (25.20 - 52.94) / (21.76 - 52.94)) / 2
    emotion = (64.92 - 35.39) / (70.62 - 35.39)
    assert superb_score(PUBLISHED["HuBERT Base"]) == pytest.approx(1000 * (sum(ways) + slots + emotion) / 10)


def test_the_superb_score_goes_from_fbank_to_the_best():
    """Half the way in KS is 500 thousandths of one task of ten, and all of it in one of two scores of SF as much."""
    scores = dict(PUBLISHED["FBANK"])
    assert superb_score(scores) == 0
    scores["ks", "accuracy"] = (0.0863 + 0.9679) / 2
    assert superb_score(scores) == pytest.approx(50)
    scores["sf", "slot_value_cer"] = 0.2176
    assert superb_score(scores) == pytest.approx(100)


def test_an_encoder_with_all_ten_tasks_has_a_superb_score(tmp_path: Path):
    found = write(tmp_path, published_tasks("tiny", "WavLM Base"))
    score = superb_score(PUBLISHED["WavLM Base"])
    assert found["superb_score"] == {"tiny": {"score": pytest.approx(score)}} and found["differs"] == {}
    page = (tmp_path / "results.md").read_text()
    assert (
        f"- tiny: SUPERB score {score:.0f}\n" in page and f"- WavLM Base (published): SUPERB score {score:.0f}" in page
    )
    assert "wav2vec 2.0 Base (published): SUPERB" not in page


def test_what_an_encoder_lacks_for_a_superb_score_is_listed(tmp_path: Path):
    stand_in = task_results("er", {"tiny": {"accuracy": 0.5}}, corpus_dir=None)
    found = write(tmp_path, [*published_tasks("tiny", "HuBERT Base", ["qbe", "er"]), stand_in])
    assert found["superb_score"] == {"tiny": {"missing": ["qbe", "er"]}} and found["differs"] == {"er": "stand-in"}
    assert found["published"]["HuBERT Base"]["sf"] == {"slot_type_f1": 0.8853, "slot_value_cer": 0.252}
    assert "er" not in found["published"]["HuBERT Base"]
    page = (tmp_path / "results.md").read_text()
    assert "- no SUPERB score of tiny; missing on the official corpora: qbe, er\n" in page
    assert "(published): SUPERB score" not in page


def test_a_score_that_an_encoder_does_not_have_is_missing(tmp_path: Path):
    (slots,) = [each for each in published_tasks("tiny", "FBANK") if each["task"]["name"] == "sf"]
    del slots["summary"]["tiny"]["slot_value_cer"]
    others = published_tasks("tiny", "FBANK", ["sf"])
    assert write(tmp_path, [*others, slots])["superb_score"] == {"tiny": {"missing": ["sf"]}}


def test_results_of_other_benchmarks_are_none_of_these(tmp_path: Path):
    write(tmp_path, [KS, {**STAND_IN, "benchmark": "hear"}])
    assert list(OVERVIEW.read(tmp_path)) == ["ks"]


def test_results_of_probes_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "results.json").write_text('{"settings": {}, "scores": {}}')
    assert list(write(tmp_path, [KS])["tasks"]) == ["ks"] and not caplog.messages


@pytest.mark.parametrize("content", ["[1, 2]", '{"a": 1,', '{"benchmark": "superb"}'])
def test_what_is_no_result_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str):
    file = tmp_path / "notes" / "results.json"
    file.parent.mkdir()
    file.write_text(content)
    assert list(write(tmp_path, [KS])["tasks"]) == ["ks"]
    (line,) = caplog.messages
    assert line.startswith("superb: left out of the tables: ") and str(file) in line
