"""Query by example as a user meets it: csv, QUESST 2014, and wrong input."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.cli.app import main
from speechssl.evaluation.superb.corpora import CORPORA
from speechssl.evaluation.superb.search import run
from speechssl.evaluation.superb.states import FrozenEncoder
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.superb.conftest import write_csv
from tests.evaluation.superb.fake_corpora import text, write_quesst14

with guarded_s3prl():
    from s3prl.dataio.corpus.quesst14 import Quesst14

PITCHES = {"a": 250.0, "b": 600.0, "c": 1300.0, "d": 2800.0}
SIZES = {"queries": 2, "documents": 4}
COLUMNS = ("id", "path", "order")


def write_tones(file: Path, names: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    times = [np.arange(round(16000 * random.uniform(0.12, 0.2))) / 16000 for _ in names]
    wave = [0.3 * np.sin(2 * np.pi * PITCHES[name] * time) for name, time in zip(names, times, strict=True)]
    wave = np.concatenate(wave)
    soundfile.write(file, wave + 0.01 * random.standard_normal(len(wave)), 16000)


def write_search(folder: Path) -> Path:
    """Documents are all orders of four tones. Each query is two of them, and is in six documents."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {kind: ["".join(names) for names in itertools.permutations(PITCHES, size)] for kind, size in SIZES.items()}
    for part in ("valid", "test"):
        for kind, listed in said.items():
            rows = []
            for number, names in enumerate(listed):
                path = f"{part}-{kind}-{names}.wav"
                write_tones(folder / path, names, len(part) * 1000 + number)
                order = "up" if names[0] < names[1] else "down"
                rows.append(dict(zip(COLUMNS, (f"{kind[0]}-{names}", path, order), strict=True)))
            write_csv(folder / f"{part}_{kind}.csv", rows, COLUMNS)
        pairs = [pair for pair in itertools.product(*said.values()) if pair[0] in pair[1]]
        rows = [{"query": f"q-{query}", "document": f"d-{document}"} for query, document in pairs]
        write_csv(folder / f"{part}_matches.csv", rows, ("query", "document"))
    return folder


@pytest.fixture(scope="module")
def search_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_search(tmp_path_factory.mktemp("search") / "tones")


def arguments(folder: Path, out: Path, encoder: Path, *settings: str) -> list[str]:
    given = ["task=qbe", f"data_dir={folder}", f"out_dir={out}", f"encoders={{tiny: {encoder}}}"]
    return ["evaluate", "benchmark=superb", *given, f"cache_dir={out.parent / 'cache'}", *settings]


def qbe(folder: Path, out: Path, encoder: Path, *settings: str) -> dict:
    assert main(arguments(folder, out, encoder, *settings)) == 0
    return json.loads((out / "qbe" / "results.json").read_text())


def test_filterbanks_find_the_tones(search_dir: Path, tmp_path: Path, encoder_dir: Path, capsys):
    results = qbe(search_dir, tmp_path / "out", encoder_dir, "groups=[order]")
    summary = results["summary"]["fbank"]
    assert 0.5 < summary["atwv"]["mean"] <= summary["mtwv"]["mean"] and results["summary"]["tiny"]["mtwv"]["mean"] < 0.1
    assert results["task"]["utterances"]["test_documents"] == 24
    assert "test: 12 of 12 queries are in a document, which makes 72 matches" in results["task"]["notes"]
    (score,) = results["scores"]["fbank"]
    groups = score["groups"]["order"]
    assert {name: group["utterances"] for name, group in groups.items()} == {"up": 6, "down": 6}
    assert sum(group["atwv"] for group in groups.values()) / 2 == pytest.approx(score["test"]["atwv"])
    lines = (tmp_path / "out" / "qbe" / "predictions" / "fbank-1-layer0.tsv").read_text().splitlines()
    found = {name: float(value) for name, value in (line.split("\t") for line in lines[1:])}
    assert len(found) == 12 * 24 and found["q-ab d-abcd"] > found["q-ab d-dcba"]
    page = (tmp_path / "out" / "results.md").read_text()
    assert "QBE mtwv ↑" in page and "| layer |" in page and "updates of" not in page and "By order" in page
    assert "mtwv (valid)" in capsys.readouterr().out


def test_the_layer_is_chosen_on_validation_and_the_test_part_read_in_it(search_dir, tmp_path, encoder_dir, monkeypatch):
    """Layer 1 finds all, with scores above 3 on validation and above 2 on test; the others find nothing."""
    names = {kind: ["".join(one) for one in itertools.permutations(PITCHES, size)] for kind, size in SIZES.items()}
    right = np.array([[query in document for document in names["documents"]] for query in names["queries"]])
    asked = []

    def made_up(queries, documents, layers, device, what):
        asked.append(layers)
        return np.stack([(4.0 - len(asked)) * right if layer == 1 else 1.0 - right for layer in layers])

    monkeypatch.setattr(run, "search_layers", made_up)
    (score,) = qbe(search_dir, tmp_path / "out", encoder_dir, "baselines=[]")["scores"]["tiny"]
    assert asked == [[0, 1, 2], [1]] and score["layer"] == 1 and score["threshold"] == 3.0
    assert score["tried"] == [{"layer": 0, "mtwv": 0}, {"layer": 1, "mtwv": pytest.approx(1)}, {"layer": 2, "mtwv": 0}]
    assert score["test"] == {"mtwv": pytest.approx(1), "atwv": 0}


def test_a_killed_search_begins_again_with_the_stored_states(search_dir, tmp_path, encoder_dir, monkeypatch):
    whole = qbe(search_dir, tmp_path / "whole" / "out", encoder_dir, "baselines=[]")
    searched, calls = run.search_layers, []

    def killed(*given):
        calls.append(given)
        if len(calls) == 2:  # the test part
            raise KeyboardInterrupt
        return searched(*given)

    monkeypatch.setattr(run, "search_layers", killed)
    assert main(arguments(search_dir, tmp_path / "out", encoder_dir, "baselines=[]")) != 0
    assert not (tmp_path / "out" / "qbe" / "results.json").exists()
    monkeypatch.setattr(FrozenEncoder, "encode", None)
    again = qbe(search_dir, tmp_path / "out", encoder_dir, "baselines=[]")
    assert again["scores"]["tiny"][0] == whole["scores"]["tiny"][0]


def rows_of(root: Path) -> dict:
    corpus = CORPORA["qbe"]
    place = corpus.place(str(root))
    corpus.require("qbe", place)
    return dict(corpus.rows(place))


def test_queries_and_documents_are_s3prl_s(tmp_path: Path):
    theirs = Quesst14(str(write_quesst14(tmp_path / "quesst14Database")))
    found = {part: [Path(row["path"]) for row in rows] for part, rows in rows_of(tmp_path).items()}
    assert found["valid_queries"] == theirs.valid_queries and found["test_queries"] == theirs.test_queries
    assert found["valid_documents"] == found["test_documents"] == theirs.docs and len(theirs.docs) == 3


def test_quesst_from_end_to_end(tmp_path: Path, capsys):
    write_quesst14(tmp_path / "quesst14Database")
    given = ["benchmark=superb", "task=qbe", f"corpus_dir={tmp_path}"]
    assert main(["evaluate", *given, "check=true"]) == 0
    expected = "valid_queries 2, valid_documents 3, test_queries 2, test_documents 3 utterances"
    assert expected in capsys.readouterr().out
    out = [f"out_dir={tmp_path / 'out'}", f"cache_dir={tmp_path / 'cache'}", "encoders={}", "baselines=[fbank]"]
    assert main(["evaluate", *given, *out]) == 0
    results = json.loads((tmp_path / "out" / "qbe" / "results.json").read_text())
    note = "2 of 2 queries are in a document, which makes 3 matches; 1 queries and 1 documents of other languages count"
    assert [note in line for line in results["task"]["notes"][1:]] == [True, True]
    assert 0 <= results["summary"]["fbank"]["mtwv"]["mean"] <= 2 / 3, "the Czech query is missed"
    overview = json.loads((tmp_path / "out" / "results.json").read_text())
    assert overview["differs"] == {"qbe": "part of the corpus"}
    assert len(list((tmp_path / "cache").glob("*/states.npy"))) == 3, "documents of both parts are encoded once"


@pytest.mark.parametrize(
    ("file", "lines", "message"),
    [
        ("language_key_dev.lst", ["a/b.wav"], "language_key_dev.lst line 1 is not `path language`; get it again"),
        (
            "groundtruth_quesst14_eval/quesst14_eval.rttm",
            ["LEXEME quesst14_00001 1"],
            "quesst14_eval.rttm line 1 is cut",
        ),
        ("groundtruth_quesst14_dev/quesst14_dev.rttm", [], "quesst14_dev.rttm has no match of an English query"),
    ],
)
def test_broken_lists_are_named(tmp_path: Path, capsys, file: str, lines: list[str], message: str):
    root = write_quesst14(tmp_path / "quesst14Database")
    text(root / "scoring" / file, *lines)
    out = [f"out_dir={tmp_path / 'out'}", f"cache_dir={tmp_path / 'cache'}", "encoders={}", "baselines=[fbank]"]
    assert main(["evaluate", "benchmark=superb", "task=qbe", f"corpus_dir={root}", *out]) == 1
    assert message in capsys.readouterr().err


def test_a_missing_list_says_where_to_get_it(tmp_path: Path, capsys):
    root = write_quesst14(tmp_path / "quesst14Database")
    (root / "scoring" / "language_key_eval.lst").unlink()
    assert main(["evaluate", "benchmark=superb", "task=qbe", f"corpus_dir={tmp_path}", "check=true"]) == 1
    said = capsys.readouterr().out
    assert "missing" in said and "language_key_eval.lst: https://speech.fit.vutbr.cz/files/quesst14Database.tgz" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["lr=[1e-3]", "preset=quick"], "task=qbe trains nothing; leave out preset, lr"),
        (["groups=[colour]"], "test_queries.csv has no column 'colour'"),
    ],
)
def test_wrong_settings_are_one_line(search_dir, tmp_path, encoder_dir, capsys, settings, message):
    assert main(arguments(search_dir, tmp_path / "out", encoder_dir, *settings)) == 1
    captured = capsys.readouterr().err
    assert message in captured and len(captured.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q-zz,d-abcd", "test_matches.csv, line 2: no query 'q-zz' in"),
        ("q-ab,d-abce", "test_matches.csv, line 2: no document 'd-abce' in"),
    ],
)
def test_wrong_matches_are_named_with_their_line(tmp_path, encoder_dir, capsys, row, message):
    folder = write_search(tmp_path / "tones")
    (folder / "test_matches.csv").write_text(f"query,document\n{row}\n")
    assert main(arguments(folder, tmp_path / "out", encoder_dir)) == 1
    assert message in capsys.readouterr().err


def test_a_check_names_missing_files(tmp_path: Path, capsys):
    assert main(["evaluate", "benchmark=superb", "task=qbe", "check=true", f"data_dir={tmp_path}"]) == 1
    said = capsys.readouterr().out
    assert all(
        f"{part}_{kind}.csv" in said for part in ("valid", "test") for kind in ("queries", "documents", "matches")
    )
    assert "train.csv" not in said


def test_a_short_query_is_said(tmp_path: Path, encoder_dir: Path, capsys):
    folder = write_search(tmp_path / "tones")
    soundfile.write(folder / "valid-queries-ab.wav", np.full(1000, 0.1), 16000)
    qbe(folder, tmp_path / "out", encoder_dir, "baselines=[]")
    assert "1 queries of valid are shorter than 5 frames" in capsys.readouterr().out
