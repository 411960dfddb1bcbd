"""What stands on the page of LAPE's results, written by hand and by the evaluation's own code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from speechssl.errors import UserError
from speechssl.evaluation.encoders.baselines import FilterbankEncoder
from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.lape.data import TaskData
from speechssl.evaluation.lape.results import LapeResults
from speechssl.evaluation.lape.scores import score_features
from speechssl.evaluation.lape.settings import LapeSettings, LapeTask
from speechssl.evaluation.lape.splits import Division
from speechssl.evaluation.recordings import Recording
from speechssl.report import lape
from speechssl.report.findings import input_files, read_findings
from speechssl.report.lape import lape_section
from speechssl.report.tables import Section, Table

NBSP = "\u00a0"


def section_of(exp: Path) -> Section:
    return lape_section(read_findings(exp))


def table(section: Section, caption: str) -> Table:
    (found,) = [each for each in section.tables + section.detail_tables if each.caption == caption]
    return found


def texts(found: Table) -> dict[str, list[str]]:
    return {row.name: [cell.text for cell in row.cells] for row in found.rows}


def test_a_table_a_mode_and_protocol_linear_first(clip_exp):
    tables = section_of(clip_exp).tables
    assert [each.caption for each in tables] == [
        "Test accuracy (%), linear, protocol sound",
        "Test accuracy (%), linear, protocol paper",
        "Test accuracy (%), fine-tuned, protocol sound",
    ]
    assert [each.note for each in tables] == [
        "Protocol sound: learning rate and epoch chosen on validation. Each value is of 3 runs.",
        "Protocol paper: MAXIMUM of the test accuracy over the epochs. Each value is of 1 run.",
        "Protocol sound: learning rate and epoch chosen on validation. Each value is of 1 run.",
    ]
    assert tables[2].source == f"{clip_exp}/lape/<task>/finetune/results.json"


def test_the_folder_of_lape_itself_is_a_report(clip_exp):
    whole, found = read_findings(clip_exp), read_findings(clip_exp / "lape")
    assert [(each.file, each.picture) for each in found.lape] == [(each.file, each.picture) for each in whole.lape]
    assert found.lape_left_out == whole.lape_left_out and found.missing == []
    assert section_of(clip_exp / "lape") == section_of(clip_exp)
    read = {path.relative_to(clip_exp / "lape").as_posix() for path in input_files(clip_exp / "lape")}
    tuned = "languages/finetune/results.json"
    assert {"results.json", "birds/results.json", "languages/confusion.png", tuned} <= read


def test_accuracies_by_label_fraction_with_spread_and_best(clip_exp):
    linear = table(section_of(clip_exp), "Test accuracy (%), linear, protocol sound")
    assert [column.name for column in linear.columns] == ["chance", "FBANK", "unfused", "pretrained"]
    assert texts(linear) == {
        "languages, 1 % of labels": ["31.0", f"31.0 ±{NBSP}0.0", f"42.0 ±{NBSP}2.0", f"35.0 ±{NBSP}3.0"],
        "languages, 10 % of labels": ["31.0", f"33.0 ±{NBSP}1.0", f"61.2 ±{NBSP}1.2", f"70.0 ±{NBSP}1.0"],
        "languages, all labels": ["31.0", f"40.0 ±{NBSP}1.0", f"80.0 ±{NBSP}0.4", f"80.0 ±{NBSP}0.5"],
    }
    best = [[column for column, cell in enumerate(row.cells) if cell.best] for row in linear.rows]
    assert best == [[2], [3], [2, 3]]  # what reads the same is as good


def test_one_run_has_no_spread_and_a_lonely_value_is_not_the_best(clip_exp):
    paper = table(section_of(clip_exp), "Test accuracy (%), linear, protocol paper")
    assert (paper.columns[-1].name, paper.columns[-1].group) == ("DECAR", "published, maximum over epochs")
    assert texts(paper) == {
        "birds, 10 % of labels": ["31.0", "9.2", "\u2013"],
        "birds, all labels": ["31.0", "70.0", "77.2"],
    }
    assert not any(cell.best for row in paper.rows for cell in row.cells)


def test_balanced_accuracy_stands_beside_its_own_chance(clip_exp):
    rows = texts(table(section_of(clip_exp), "Balanced test accuracy (%), linear, protocol paper"))
    assert rows == {"birds, 10 % of labels": ["25.0", "4.6"], "birds, all labels": ["25.0", "35.0"]}


def test_distances_of_classes_are_better_when_less(clip_exp):
    file = clip_exp / "lape/languages/results.json"
    results = json.loads(file.read_text())
    for name, mean in (("unfused", 0.5123), ("pretrained", 1.25)):
        results["summary"][name]["1"]["mean_distance"] = {"mean": mean, "spread": 0.01, "runs": 3}
    file.write_text(json.dumps(results))
    distances = table(
        section_of(clip_exp), "Mean distance from the true class (less is better), linear, protocol sound"
    )
    (row,) = distances.rows
    assert [cell.text for cell in row.cells] == ["\u2013", "\u2013", f"0.512 ±{NBSP}0.010", f"1.250 ±{NBSP}0.010"]
    assert [cell.best for cell in row.cells] == [False, False, True, False]


def test_more_encoders_than_colours_are_told_apart_by_dashes(clip_exp, monkeypatch):
    file = clip_exp / "lape/languages/results.json"
    results = json.loads(file.read_text())
    more = [f"other{number}" for number in range(10)]
    results["encoders"] += [{**results["encoders"][-1], "name": name} for name in more]
    results["summary"] |= dict.fromkeys(more, results["summary"]["unfused"])
    file.write_text(json.dumps(results))
    drawn = []
    monkeypatch.setattr(lape, "line_plot", lambda lines, *_, **__: drawn.append(lines) or "data:,")
    (figure,) = (figure for figure in section_of(clip_exp).figures if "languages, linear" in figure.caption)
    lines = next(lines for lines in drawn if len(lines) > 10)
    assert len({(line.colour, line.dash) for line in lines}) == len(lines)
    assert all(line.spread is None for line in lines) and "band" not in figure.caption


def test_learning_with_few_labels_is_drawn_for_each_task_and_mode(clip_exp):
    file = clip_exp / "lape/birds/results.json"
    results = json.loads(file.read_text())
    del results["summary"]["pretrained"]["0.1"]
    file.write_text(json.dumps(results))
    few = section_of(clip_exp).figures
    assert [figure.caption for figure in few] == [
        "Few labels: languages, linear, protocol sound; band: standard deviation of the runs",
        "Few labels: languages, fine-tuned, protocol sound",
    ]
    assert "with 1 % of labels, 10 % of labels, all labels" in few[0].alt
    assert "FBANK 31.0, 33.0, 40.0; unfused 42.0, 61.2, 80.0; pretrained 35.0, 70.0, 80.0" in few[0].alt


def test_an_encoder_without_some_fraction_is_drawn_where_it_was_measured(clip_exp):
    file = clip_exp / "lape/languages/results.json"
    results = json.loads(file.read_text())
    del results["summary"]["pretrained"]["0.1"]
    file.write_text(json.dumps(results))
    section = section_of(clip_exp)
    assert "pretrained 35.0, 80.0" in section.figures[1].alt
    linear = table(section, "Test accuracy (%), linear, protocol sound")
    assert texts(linear)["languages, 10 % of labels"][-1] == "\u2013"


def test_confusion_matrices_are_to_unfold(clip_exp):
    section = section_of(clip_exp)
    assert section.more_title == "Confusion matrices"
    assert [figure.caption for figure in section.more_figures] == ["languages, linear, with the most labels"]
    assert section.more_figures[0].uri.startswith("data:image/png;base64,")


def test_most_frequent_mistakes_come_first_and_are_of_the_most_labels(clip_exp):
    rows = texts(table(section_of(clip_exp), "Most frequent mistakes"))
    assert rows == {
        "languages, linear: pretrained": [
            "en taken for de (12 of 75); de taken for en (5 of 75); fr taken for it (5 of 75)"
        ],
        "languages, linear: unfused": ["none"],
    }


def test_a_task_is_described_once_with_what_makes_it_easy_or_impossible(clip_exp):
    tasks = table(section_of(clip_exp), "Tasks")
    assert [row.name for row in tasks.rows] == ["birds", "languages"]
    birds, languages = texts(tasks).values()
    assert birds == [
        *("4", "4", "1300", "12", "700"),
        "fold 1: 50 train, 25 test clips; classes that train lacks, so never right: it (4 test clips). "
        "fold 2: 50 train, 25 test clips; 2 of 9 values of speaker in test are in train",
        "Not a task of LAPE.",
    ]
    assert languages[-2] == "official: 900 train, 100 validation (of train, stratified), 300 test clips"


def test_pseudo_labels_are_counted_for_each_encoder_and_fraction(clip_exp):
    file = clip_exp / "lape/languages/finetune/results.json"
    results = json.loads(file.read_text())
    parts = [{"name": "official", "train": 90, "pseudo_labels": kept} for kept in (700, 650)]
    scores = [{"label_fraction": 0.1, "parts": [part]} for part in parts]
    scores += [{"label_fraction": 1, "parts": [{"name": "official", "train": 900}]}]
    results["scores"] |= {"pretrained": scores, "unfused": scores[2:]}
    file.write_text(json.dumps(results))
    found = table(section_of(clip_exp), "Pseudo-labels learnt before the real labels")
    assert [column.name for column in found.columns] == ["kept", "clips without a label"]
    assert texts(found) == {"languages, 10 % of labels: pretrained": ["650 to 700", "810"]}


def test_what_was_left_out_is_told_with_its_task(clip_exp):
    rows = texts(table(section_of(clip_exp), "Left out"))
    reason = "filterbanks have no weights, so they cannot be fine-tuned"
    assert rows == {"nsynth": ["no folder nsynth"], "languages, fine-tuned: fbank": [reason]}


def test_no_results_are_no_section(tmp_path):
    assert section_of(tmp_path).is_empty()


def test_results_of_another_benchmark_are_not_lapes(clip_exp):
    file = clip_exp / "lape/birds/results.json"
    file.write_text(json.dumps({"benchmark": "hear"}))
    assert "birds" not in str(section_of(clip_exp).tables)


def test_results_of_another_version_are_named(clip_exp):
    file = clip_exp / "lape/birds/results.json"
    results = json.loads(file.read_text())
    del results["summary"]
    file.write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"birds/results\.json has no `summary`"):
        read_findings(clip_exp)


@pytest.fixture
def evaluated(tmp_path: Path) -> Path:
    """An experiment whose results the evaluation has written: two encoders, two label fractions, two seeds."""
    labels = np.arange(60) % 3
    recordings = [Recording(f"{row}.wav", Path(f"{row}.wav"), 16000, "", {"kind": "abc"[row % 3]}) for row in range(60)]
    data = TaskData(recordings, labels, list("abc"), [{"what": "2 recordings", "reason": "no kind known"}])
    rows = np.arange(60)
    division = Division("official", rows[:24], rows[24:36], rows[36:], "official")
    task = LapeTask(name="tones", corpus="folder", column="kind", clip_seconds=1.0)
    settings = LapeSettings(
        task, str(tmp_path), {}, data_dir="data", label_fractions=[0.2, 1.0], seeds=[1, 2], lr=[0.1], epochs=2
    )
    results = LapeResults(settings, data, [division], tmp_path / "lape/tones", [])
    hints = functional.one_hot(torch.from_numpy(labels)).float()
    for number, name in enumerate(("ours", "fbank")):
        noise = torch.randn(60, 3, generator=torch.Generator().manual_seed(number))
        for score in score_features(hints * (1 - number) + noise, data, [division], settings):
            results.add(Contestant(name, name), FilterbankEncoder(), score)
    results.write()
    return tmp_path


def test_the_evaluations_own_files_are_read(evaluated):
    section = section_of(evaluated)
    scores = json.loads((evaluated / "lape/tones/results.json").read_text())["scores"]
    rows = texts(table(section, "Test accuracy (%), linear, protocol sound"))
    for label, fraction in (("20 % of labels", 0.2), ("all labels", 1.0)):
        expected = [f"{100 / 3:.1f}"]
        for name in ("fbank", "ours"):
            seeds = np.array([100 * score["accuracy"] for score in scores[name] if score["label_fraction"] == fraction])
            assert len(seeds) == 2
            expected.append(f"{seeds.mean():.1f} ±{NBSP}{seeds.std(ddof=1):.1f}")
        assert rows.pop(f"tones, {label}") == expected
    assert not rows
    assert "learning rate and epoch chosen on validation" in section.tables[0].note
    assert len(section.figures) == len(section.more_figures) == 1
    assert texts(table(section, "Left out")) == {"tones, linear: 2 recordings": ["no kind known"]}
    assert texts(table(section, "Tasks"))["tones"][:5] == ["3", "1", "60", "0", "0"]
    mistakes = table(section, "Most frequent mistakes")
    assert [row.name for row in mistakes.rows] == ["tones, linear: FBANK", "tones, linear: ours"]
