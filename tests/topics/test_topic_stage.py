from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.metrics import homogeneity_score, normalized_mutual_info_score

from speechssl.cli.app import main
from speechssl.data.labels import LabelInfo, write_labels
from speechssl.data.manifest import read_manifest
from speechssl.data.metadata import read_metadata, write_metadata
from speechssl.data.recording_labels import check_topics_fit, read_topics
from speechssl.files import checksum, write_json

Capture = pytest.CaptureFixture[str]
Overrides = Callable[..., list[str]]


def made_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def quality(folder: Path) -> dict:
    return json.loads((folder / "quality.json").read_text())


def test_second_process_gives_the_same_bits(corpus: Path, overrides: Overrides) -> None:
    assert main(overrides()) == 0
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-m", "speechssl", *overrides(out="again")], env=environment, check=True)
    first, second = made_files(corpus / "topics"), made_files(corpus / "again")
    assert {name for name in first if first[name] != second[name]} == {".topics.done"}
    assert {"topics.safetensors", "quality.json", "topics.png", "train.topic", "valid.topic.npy"} < set(first)


def test_labels_and_posteriors_are_those_of_the_manifest(corpus: Path, overrides: Overrides) -> None:
    assert main(overrides()) == 0
    for split in ("train", "valid"):
        topics = read_topics(corpus / f"topics/{split}.topic")
        check_topics_fit(topics, read_manifest(corpus / f"data/{split}.tsv"))
        assert np.array_equal(topics.labels, topics.posteriors.argmax(1))
        assert topics.info.model_sha256 == checksum(corpus / "topics/topics.safetensors")
        assert topics.info.units_sha256 == checksum(corpus / f"units/{split}.km")
        assert topics.info.source == "mfcc"


def test_quality_against_scikit_learn(corpus: Path, overrides: Overrides) -> None:
    assert main(overrides()) == 0
    metadata = read_metadata(corpus / "data/metadata.tsv")
    found = quality(corpus / "topics")
    for split in ("train", "valid"):
        labels = read_topics(corpus / f"topics/{split}.topic").labels
        themes = [metadata[path]["theme"] for path in read_manifest(corpus / f"data/{split}.tsv").paths]
        known = [index for index, theme in enumerate(themes) if theme]
        values = [themes[index] for index in known]
        measured = found["splits"][split]["columns"]
        assert set(measured) == {"theme"}
        assert measured["theme"]["nmi"] == pytest.approx(normalized_mutual_info_score(values, labels[known]))
        assert measured["theme"]["homogeneity"] == pytest.approx(homogeneity_score(values, labels[known]))
        assert (measured["theme"]["values"], measured["theme"]["utterances"]) == (3, len(themes) - 1)
        assert found["splits"][split]["topic_sizes"] == np.bincount(labels, minlength=3).tolist()
    # Three themes that four units each tell apart.
    assert found["columns"]["theme"]["nmi"] > 0.9
    assert imread(corpus / "topics/topics.png").std() > 0


def test_perplexity_is_better_for_a_model_that_knows_the_themes(corpus: Path, overrides: Overrides) -> None:
    assert main(overrides(out="three")) == 0
    assert main(overrides("passes=1", "seed=1", out="hardly")) == 0
    three, hardly = (quality(corpus / out)["splits"]["valid"]["perplexity_bound"] for out in ("three", "hardly"))
    # Every word of the vocabulary equally likely has a perplexity of its size.
    assert 1 < three < hardly < quality(corpus / "three")["vocabulary"]


def test_short_utterance_is_counted_and_listed(corpus: Path, overrides: Overrides, capsys: Capture) -> None:
    assert main(overrides()) == 0
    valid = quality(corpus / "topics")["splits"]["valid"]
    assert (valid["empty_documents"], valid["empty_document_paths"]) == (1, ["valid/019.wav"])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("topics: 3 topics, 99 of 100 recordings have one; 1 have no word (n-gram of units) that is")
    posterior = read_topics(corpus / "topics/valid.topic").posteriors[-1]
    np.testing.assert_allclose(posterior, 1 / 3, rtol=1e-6)


def test_fitted_model_labels_another_split_the_same(corpus: Path, overrides: Overrides) -> None:
    assert main(overrides()) == 0
    model = f"topic_model={corpus}/topics/topics.safetensors"
    assert main(overrides("splits=[valid]", model, out="again")) == 0
    first, second = made_files(corpus / "topics"), made_files(corpus / "again")
    assert all(first[name] == second[name] for name in ("valid.topic", "valid.topic.npy", "valid.topic.json"))
    assert "topics.safetensors" not in second


def test_fit_on_some_of_the_utterances(corpus: Path, overrides: Overrides) -> None:
    assert main(overrides("fit_utterances=30")) == 0
    assert quality(corpus / "topics")["fitted_utterances"] == 30
    assert len(read_topics(corpus / "topics/train.topic")) == 80


def test_without_metadata(corpus: Path, overrides: Overrides) -> None:
    (corpus / "data/metadata.tsv").unlink()
    assert main(overrides()) == 0
    assert quality(corpus / "topics")["columns"] == {}
    assert (corpus / "topics/topics.png").is_file()


def test_the_last_line_is_the_result(corpus: Path, overrides: Overrides, capsys: Capture) -> None:
    (corpus / "data/metadata.tsv").unlink()
    assert main(overrides("splits=[train]")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "topics: 3 topics, 80 of 80 recordings have one"


def test_finished_topics_are_left_alone_until_metadata_change(
    corpus: Path, overrides: Overrides, capsys: Capture
) -> None:
    assert main(overrides()) == 0
    assert main(overrides()) == 0
    assert "done before and unchanged" in capsys.readouterr().out
    (corpus / "data/metadata.tsv").unlink()
    assert main(overrides()) == 0
    assert "done before" not in capsys.readouterr().out


def fails(arguments: list[str], capsys: Capture) -> str:
    """Run a command that must fail with one line; return it."""
    assert main(arguments) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_metadata_of_another_corpus(corpus: Path, overrides: Overrides, capsys: Capture) -> None:
    write_metadata(corpus / "data/metadata.tsv", ["theme"], [{"path": "other.wav"}])
    assert "no row for train/000.wav (80 of 80 utterances)" in fails(overrides(), capsys)
    assert not (corpus / "topics").exists() or not list((corpus / "topics").glob("*.topic"))


def test_units_of_other_audio(corpus: Path, overrides: Overrides, capsys: Capture) -> None:
    manifest = corpus / "data/train.tsv"
    manifest.write_text(manifest.read_text().replace("train/000", "train/other"))
    assert "has changed" in fails(overrides(), capsys)


def test_splits_of_different_kmeans(corpus: Path, overrides: Overrides, capsys: Capture) -> None:
    sidecar = corpus / "units/valid.km.json"
    write_json(sidecar, {**json.loads(sidecar.read_text()), "kmeans_sha256": "another"})
    assert "different k-means; label both with one" in fails(overrides(), capsys)


def test_model_of_other_units(corpus: Path, overrides: Overrides, capsys: Capture) -> None:
    assert main(overrides()) == 0
    capsys.readouterr()
    manifest = read_manifest(corpus / "data/valid.tsv")
    rows = [np.arange(samples // 160) % 12 for samples in manifest.samples]
    write_labels(corpus / "units/valid.km", rows, LabelInfo(100.0, 12, "mfcc", "another", checksum(manifest.file)))
    model = f"topic_model={corpus}/topics/topics.safetensors"
    assert "another k-means" in fails(overrides("splits=[valid]", model, out="again"), capsys)


def test_the_folder_of_the_units_keeps_its_quality(overrides: Overrides, capsys: Capture) -> None:
    assert "units, whose quality.json stays as it is; give another folder" in fails(overrides(out="units"), capsys)


def test_labels_of_fairseq_have_topics(corpus: Path, overrides: Overrides, capsys: Capture) -> None:
    """They have no sidecar, and a split need not have the largest unit."""
    assert main(overrides(out="ours")) == 0
    rows = [[unit % 11 for unit in map(int, line.split())] for line in (corpus / "units/valid.km").open()]
    (corpus / "units/valid.km").write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
    for file in (corpus / "units").glob("*.km.json"):
        file.unlink()
    assert "train.km has no train.km.json: give its frame rate as label_rate" in fails(overrides(), capsys)
    assert main(overrides("label_rate=100")) == 0
    assert made_files(corpus / "topics")["train.topic.npy"] == made_files(corpus / "ours")["train.topic.npy"]
    assert len(read_topics(corpus / "topics/valid.topic")) == 20
    model = f"topic_model={corpus}/topics/topics.safetensors"
    assert main(overrides("label_rate=100", "splits=[valid]", model, out="again")) == 0
    assert made_files(corpus / "again")["valid.topic.npy"] == made_files(corpus / "topics")["valid.topic.npy"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("words=ngrm", "did you mean 'ngram'"),
        ("words.kind=phrases", "did you mean 'phrase'"),
        ("topic=4", "did you mean 'topics'"),
        ("topics=81", "81 topics need at least as many utterances"),
        ("topics=1", "topics=1 must be 2 or more"),
        ("alpha=none", "symmetric, asymmetric or auto"),
        ("splits=[valid,valid]", "none twice"),
        ("splits=[test]", "test.km does not exist; run `speechssl label` first"),
        ("no_above=0", "no_above=0"),
        ("words.order=0", "words.order=0"),
        ("words=unit words.order=3", "words.order is set, but words=unit does not read it: use words=ngram or phrase"),
        ("words.threshold=0.5", "words.threshold is set, but words=ngram does not read it: use words=phrase"),
        ("words=phrase words.subwords=9", "words.subwords is set, but words=phrase does not read it"),
        ("words=phrase words.order=1 words.threshold=0.2", "words.threshold is set, but words.order=1 joins no units"),
        ("words=subword words.subwords=0", "words.subwords=0 must be 1 or more"),
        ("words.rate=200", "units a second, of which every, every second, ... one is taken: give 100, 50 or 33"),
        ("words.rate=60", "words.rate=60: "),
        ("label_rate=nan", "label_rate=nan must be 0 or more"),
        ("fit_utterances=3 topics=4", "fit_utterances=3 is fewer than topics=4"),
        ("words=phrase words.order=7", "words.order=7: words=phrase takes at most 6"),
        (
            "topic_model=a.safetensors topics=4",
            "topics is set, but topic_model=a.safetensors is fitted and has its own",
        ),
        ("topic_model=a.safetensors words=unit", "words is set, but topic_model=a.safetensors is fitted"),
        ("no_below=1000", "no word is in at least 1000"),
    ],
)
def test_bad_settings(overrides: Overrides, capsys: Capture, override: str, message: str) -> None:
    assert message in fails(overrides(*override.split()), capsys)
