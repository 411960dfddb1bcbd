"""The report reads what the evaluation writes, by the evaluation's own code."""

from __future__ import annotations

import numpy as np
import pytest

from speechssl.evaluation.encoders.baselines import FilterbankEncoder
from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.probes.results import Results
from speechssl.evaluation.probes.settings import EvaluateSettings
from speechssl.evaluation.probes.tasks import Score
from speechssl.report.evaluation import evaluation_section
from speechssl.report.findings import read_findings

LANGUAGE = {"hubert": [0.30, 0.36], "hubertopic": [0.35, 0.41], "fbank": [0.2]}


@pytest.fixture
def section(tmp_path):
    results = Results(EvaluateSettings(data_dir="data", out_dir=str(tmp_path)))
    for name, values in LANGUAGE.items():
        for seed, value in enumerate(values):
            rival = Contestant(name, f"exp/{name}-seed{seed}")
            encoder = FilterbankEncoder()
            encoder.num_layers = 0 if name == "fbank" else 1
            results.add_encoder(rival, encoder)
            layers = [value] if name == "fbank" else [value, value / 2]
            weights = None if name == "fbank" else [0.25, 0.75]
            score = Score(layers=layers, best=value, best_layer=0, weighted=value + 0.1, layer_weights=weights)
            results.add_score(rival, "language", score)
            results.add_score(rival, "rankme", Score(layers=[90.0, 80.0], value=80.0))
    results.describe("language", {"metric": "balanced accuracy", "better": "more", "chance": 0.215})
    results.describe("rankme", {"metric": "RankMe", "better": ""})
    results.leave_out("probe of column age", "too few speakers")
    results.write(tmp_path / "evaluate")
    return evaluation_section(read_findings(tmp_path))


def test_probe_table(section):
    table = section.tables[0]
    assert [column.name for column in table.columns] == ["chance", "FBANK", "HuBERT", "HuBERTopic"]
    rows = {row.name: row for row in table.rows}
    assert set(rows) == {
        "language, balanced accuracy, best layer",
        "language, balanced accuracy, weighted sum",
        "RankMe",
    }
    best = rows["language, balanced accuracy, best layer"]
    mean, spread = np.mean(LANGUAGE["hubertopic"]), np.std(LANGUAGE["hubertopic"], ddof=1)
    expected = ["0.215", "0.200", "0.330 ±\u00a00.042", f"{mean:.3f} ±\u00a0{spread:.3f}"]
    assert [cell.text for cell in best.cells] == expected
    assert [cell.best for cell in best.cells] == [False, False, False, True]
    assert best.better == "more"
    assert not any(cell.best for cell in rows["RankMe"].cells)


def test_curves_are_means_over_seeds(section):
    told = {figure.caption.partition(",")[0]: figure.alt for figure in section.figures + section.more_figures}
    assert "HuBERT 0.330, 0.165" in told["language"]
    assert "FBANK 0.200, 0.200" in told["language"]  # one layer: a level to compare with
    assert "HuBERT 0.250, 0.750" in told["Weights of the layers for language"]
    assert "FBANK" not in told["Weights of the layers for language"]


def test_what_was_left_out_is_told(section):
    table = next(table for table in section.detail_tables if table.caption == "Left out")
    assert (table.rows[0].name, table.rows[0].cells[0].text) == ("probe of column age", "too few speakers")
