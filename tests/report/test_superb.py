"""What stands on the page of SUPERB's and HEAR's results, written by the evaluation's own code and by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from speechssl.evaluation.superb.overview import OVERVIEW
from speechssl.report.findings import input_files, read_findings
from speechssl.report.hear import hear_section
from speechssl.report.report import write_report
from speechssl.report.settings import ReportSettings
from speechssl.report.superb import superb_section
from speechssl.report.tables import Section, Table
from tests.evaluation.superb.made_up import summary_of, task_results

NBSP = "\u00a0"
ENCODERS = ("fbank", "tiny", "other")


def write(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))


def write_superb(folder: Path) -> None:
    """Keywords on the official corpus, recognition and enhancement on stand-ins."""
    keywords = task_results(
        "ks",
        {name: {"accuracy": value} for name, value in zip(ENCODERS, (0.1, 0.9, 0.9), strict=True)},
        {"tiny": [[0.25, 0.75], [0.35, 0.65]]},
    )
    keywords["summary"]["tiny"]["accuracy"] = summary_of(0.9, 0.0125, 2)
    recognition = task_results(
        "asr", {"fbank": {"wer": 0.5, "cer": 0.2}, "tiny": {"wer": 0.4, "cer": 0.3}}, corpus_dir=None
    )
    enhancement = task_results("se", {"tiny": {"pesq": 2.5, "stoi": 0.9}}, corpus_dir=None)
    enhancement["task"]["units"] = {"pesq": "MOS"}
    for results in (keywords, recognition, enhancement):
        write(folder / results["task"]["name"] / "results.json", results)
    OVERVIEW.write(folder, left_out=[{"what": "sid", "reason": "VoxCeleb1: no wav"}])


def write_hear(folder: Path) -> None:
    """By the words of `speechssl.evaluation.hear.results`."""
    facts = {"frame_rate": 50.0, "dim": 768, "parameters": 94_371_712, "sources": ["exp/tiny"]}
    task = {
        "name": "events",
        "scores": ["event_fms", "segment_er"],
        "kind": "event",
        "prediction": "multilabel",
        "classes": 4,
        "recordings": 30,
        "divisions": [{}, {}],
    }
    summary = {
        "fbank": {"event_fms": summary_of(0.25), "segment_er": summary_of(1.5)},
        "tiny": {"event_fms": summary_of(0.5, 0.01, 3), "segment_er": None},
        "other": {"event_fms": summary_of(0.4), "segment_er": summary_of(0.75)},
    }
    encoders = [{"name": name, **facts} for name in summary]
    results = {"benchmark": "hear", "protocol": "chosen", "task": task, "encoders": encoders, "summary": summary}
    write(folder / "events" / "results.json", results)
    write(folder / "results.json", {"benchmark": "hear", "left_out": [{"what": "nsynth", "reason": "no folder"}]})


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    write_superb(tmp_path / "superb")
    write_hear(tmp_path / "hear")
    return tmp_path


def table(section: Section, caption: str) -> Table:
    (found,) = [each for each in section.tables + section.detail_tables if each.caption == caption]
    return found


def texts(found: Table) -> dict[str, list[str]]:
    return {row.name: [cell.text for cell in row.cells] for row in found.rows}


def bold(found: Table) -> dict[str, list[int]]:
    return {row.name: [number for number, cell in enumerate(row.cells) if cell.best] for row in found.rows}


def test_scores_of_superb_beside_published_ones(exp: Path):
    scores = table(superb_section(read_findings(exp)), "Test scores")
    assert [(column.group, column.name) for column in scores.columns][:4] == [
        ("", "FBANK"),
        ("", "tiny"),
        ("", "other"),
        ("published", "FBANK"),
    ]
    rows = texts(scores)
    assert list(rows) == ["ASR wer, stand-in", "KS accuracy", "SE pesq (MOS), stand-in"]
    assert rows["KS accuracy"][:4] == ["10.00", f"90.00 ±{NBSP}1.25", "90.00", "8.63"]
    assert rows["ASR wer, stand-in"][:4] == ["50.00", "40.00", "\u2013", "\u2013"]
    assert rows["SE pesq (MOS), stand-in"][1] == "2.50"
    assert bold(scores) == {"ASR wer, stand-in": [1], "KS accuracy": [1, 2], "SE pesq (MOS), stand-in": []}
    assert texts(table(superb_section(read_findings(exp)), "Other test scores")) == {
        "ASR cer, stand-in": ["20.00", "30.00", "\u2013"],
        "SE stoi, stand-in": ["\u2013", "90.00", "\u2013"],
    }


def test_what_superb_lacks_and_its_figure(exp: Path):
    section = superb_section(read_findings(exp))
    standing = texts(table(section, "SUPERB score"))
    assert standing["tiny"] == ["\u2013", "pr, asr, qbe, sid, asv, sd, ic, sf, er"]
    assert texts(table(section, "Left out")) == {"sid": ["VoxCeleb1: no wav"]}
    assert [figure.uri[:22] for figure in section.figures] == ["data:image/png;base64,"]
    assert texts(table(section, "Tasks"))["KS"][2] == "200000 updates of 32"


def test_scores_of_hear_with_the_best_of_either_direction(exp: Path):
    section = hear_section(read_findings(exp))
    scores = table(section, "Test scores")
    assert texts(scores) == {
        "events, event_fms": ["0.250", f"0.500 ±{NBSP}0.010", "0.400"],
        "events, segment_er": ["1.500", "\u2013", "0.750"],
    }
    assert bold(scores) == {"events, event_fms": [1], "events, segment_er": [2]}
    assert texts(table(section, "Left out")) == {"nsynth": ["no folder"]}
    assert texts(table(section, "Tasks"))["events"] == ["4", "30", "2", "events in time"]


def test_a_benchmark_folder_of_its_own_is_a_report(exp: Path):
    write_report(ReportSettings(exp=str(exp / "superb")))
    page, tables = ((exp / "superb" / name).read_text() for name in ("report.html", "RESULTS.md"))
    assert "SUPERB: one head a task" in page and "data:image/png" in page and "Not found" not in page
    assert "| KS accuracy" in tables and "units" not in read_findings(exp / "superb").missing
    read = {path.relative_to(exp).as_posix() for path in input_files(exp / "superb")}
    assert {"superb/results.json", "superb/ks/results.json", "superb/layer_weights.png"} <= read


def test_without_results_there_is_no_section(tmp_path: Path):
    found = read_findings(tmp_path)
    assert superb_section(found).is_empty() and hear_section(found).is_empty()
    assert found.missing, "the stages of a recipe are"
