"""Fine-tuning with few labels: augmented labels, pseudo-labels, recordings without a class."""

from __future__ import annotations

import csv
import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from speechssl.cli.app import main
from speechssl.models.clip_config import ClipConfig
from speechssl.training.clips import pseudo_labels
from speechssl.training.clips.classifier import load_classifier
from speechssl.training.clips.dataset import ClipDataset
from speechssl.training.clips.finetune import Finetuning
from speechssl.training.clips.pseudo_labels import DOUBTFUL, KEPT, OUTVOTED, judge
from speechssl.training.clips.settings import ClipDataSettings, FinetuneSettings
from speechssl.training.dataset import AudioCache
from speechssl.training.settings import ScheduleSettings
from tests.training.clips.conftest import KINDS, SMALL

SETTINGS = [setting for setting in SMALL if not setting.startswith(("augment", "data.watch"))]
SETTINGS += ["column=kind", "optim.lr=0.003", "run.validate_every=4"]


def rows(table: Path) -> list[dict[str, str]]:
    with open(table, newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def lines(run: Path, split: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics" / f"{split}.jsonl").read_text().splitlines()]


def best(run: Path) -> dict:
    return json.loads((run / "best/best.json").read_text())


def kind_of(path: str) -> str:
    """Return what the corpus was made with, from the number in a recording's name."""
    return KINDS[int(path.removeprefix("train").removeprefix("valid").removesuffix(".wav")) % 3]


def data_of(folder: Path) -> list[str]:
    return [f"data.train={folder}/train.tsv", f"data.valid={folder}/valid.tsv"]


@pytest.fixture(scope="module")
def few(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus, of whose 36 training recordings 12 are labelled."""
    folder = Path(shutil.copytree(sounds, tmp_path_factory.mktemp("few") / "data"))
    table = folder / "metadata.tsv"
    header, *cells = (line.split("\t") for line in table.read_text().splitlines())
    for number, row in enumerate(row for row in cells if row[1] == "train"):
        row[3] = row[3] if number < 12 else ""
    table.write_text("".join("\t".join(row) + "\n" for row in [header, *cells]))
    return folder


@pytest.fixture(scope="module")
def first(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the labelled recordings."""
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["finetune", *data_of(few), *SETTINGS, "schedule.epochs=16", f"out={out}"]) == 0
    return out


def label(first: Path, few: Path, out: Path, *settings: str) -> int:
    return main(["pseudo_label", f"classifier={first}", f"manifest={few}/train.tsv", f"out={out}", *settings])


def test_augmented_labels_leave_a_classifier_that_predicts_alone(data: list[str], tmp_path: Path) -> None:
    sla = ["sla.transformations=[backwards,faster]", "schedule.epochs=5", "run.checkpoint_every=100"]
    assert main(["finetune", *data, *SETTINGS, *sla, f"out={tmp_path}"]) == 0
    train = lines(tmp_path, "train")
    assert train[-1]["aggregate_accuracy"] > 0.8 and train[-1]["joint_loss"] < train[0]["joint_loss"]
    assert train[0]["loss"] > train[0]["joint_loss"] and "joint_loss" not in lines(tmp_path, "valid")[0]
    assert best(tmp_path)["accuracy"] > 0.8
    assert set(load_file(tmp_path / "best/classifier.safetensors")) == {"weight", "bias"}
    model, classes = load_classifier(tmp_path / "best")
    valid = ClipDataset(data[1].partition("=")[2], ClipDataSettings(), 0, AudioCache(0.0))
    with torch.no_grad():
        found = model.logits(torch.stack([valid.middle(row) for row in range(45)])).argmax(dim=1).tolist()
    right = [classes[number] == kind_of(path) for number, path in zip(found, valid.manifest.paths, strict=True)]
    assert np.mean(right) == pytest.approx(best(tmp_path)["accuracy"])


def test_recordings_without_a_class_are_left_out_and_counted(
    few: Path, sounds: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = [*SETTINGS, "schedule.epochs=4"]
    with caplog.at_level("INFO", logger="speechssl"):
        assert main(["finetune", *data_of(few), *given, f"out={tmp_path}/part"]) == 0
    assert f"{few}/train.tsv: 24 of 36 recordings have no kind: they are left out" in caplog.text
    alone = Path(shutil.copytree(sounds, tmp_path / "alone"))
    header, *listed = (alone / "train.tsv").read_text().splitlines()
    (alone / "train.tsv").write_text("\n".join([header, *listed[:12]]) + "\n")
    assert main(["finetune", *data_of(alone), *given, f"out={tmp_path}/alone-run"]) == 0
    one, other = (load_file(tmp_path / name / "encoder/encoder.safetensors") for name in ("part", "alone-run"))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_writing_the_encoder_draws_nothing(sounds: Path, tmp_path: Path) -> None:
    """Checkpoints end at their own time while training goes on: what follows would depend on it."""
    data = ClipDataSettings(train=f"{sounds}/train.tsv", valid=f"{sounds}/valid.tsv")
    schedule, model = ScheduleSettings(epochs=1), ClipConfig(audio_ntt_dim=64)
    settings = FinetuneSettings(out=str(tmp_path), data=data, column="kind", model=model, schedule=schedule)
    training = Finetuning(settings)
    state = training.build_model().state_dict()
    before = torch.get_rng_state()
    training.save(tmp_path / "encoder", state, step=1)
    assert torch.equal(torch.get_rng_state(), before)
    saved = load_file(tmp_path / "encoder/encoder.safetensors")
    assert saved and all(torch.equal(weight, state[f"encoder.{name}"]) for name, weight in saved.items())


def test_pseudo_labels_are_learnt_before_the_real_ones(
    few: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pseudo"
    assert label(first, few, out, "confidence=0.6") == 0
    said = capsys.readouterr().out
    table = rows(out / "pseudo_labels.tsv")
    assert [row["path"] for row in table] == [f"train{number}.wav" for number in range(12, 36)]
    kept = [row for row in table if row["outcome"] == KEPT]
    assert f"pseudo-labels: {len(kept)} of 24 recordings kept" in said
    assert len(kept) > 12 and np.mean([row["class"] == kind_of(row["path"]) for row in kept]) > 0.8
    for row in table:
        agree, sure = row["class"] == row["vote"], float(row["confidence"]) > 0.6
        assert row["outcome"] == (OUTVOTED if not agree else KEPT if sure else DOUBTFUL)
    expected = {f"train{number}.wav": kind_of(f"train{number}.wav") for number in range(12)}
    expected |= {row["path"]: row["class"] for row in kept}
    assert {row["path"]: row["kind"] for row in rows(out / "metadata.tsv")} == expected
    assert (out / "train.tsv").read_text().splitlines()[0] == (few / "train.tsv").read_text().splitlines()[0]
    assert label(first, few, out, "confidence=0.6") == 0
    assert "pseudo_label: done before and unchanged" in capsys.readouterr().out

    both = [f"data.train={out}/train.tsv", f"data.valid={few}/valid.tsv", *SETTINGS, "schedule.epochs=4"]
    assert main(["finetune", *both, f"out={tmp_path}/second"]) == 0
    given = [setting for setting in SETTINGS if not setting.startswith("model")]
    last = [*data_of(few), *given, "schedule.epochs=4", f"init_from={tmp_path}/second/best", f"out={tmp_path}/third"]
    assert main(["finetune", *last]) == 0
    assert best(tmp_path / "third")["accuracy"] > 0.8


def test_the_switch_of_pseudo_labels_is_the_three_commands(few: Path, tmp_path: Path) -> None:
    common = [*SETTINGS, "schedule.epochs=8"]
    assert main(["finetune", *data_of(few), *common, f"out={tmp_path}/first"]) == 0
    assert label(tmp_path / "first", few, tmp_path / "pseudo", "confidence=0.6") == 0
    learnt = [f"data.train={tmp_path}/pseudo/train.tsv", f"data.valid={few}/valid.tsv", *SETTINGS, "schedule.epochs=3"]
    assert main(["finetune", *learnt, f"out={tmp_path}/second"]) == 0
    given = [setting for setting in common if not setting.startswith("model")]
    assert main(["finetune", *data_of(few), *given, f"init_from={tmp_path}/second", f"out={tmp_path}/third"]) == 0

    switch = ["pseudo_labels.confidence=0.6", "pseudo_labels.epochs=3", f"out={tmp_path}/one"]
    assert main(["finetune", *data_of(few), *common, *switch]) == 0
    tables = [(tmp_path / name / "pseudo_labels.tsv").read_text() for name in ("pseudo", "one/pseudo_labels")]
    assert tables[0] == tables[1] and KEPT in tables[0]
    for name in ("encoder", "classifier"):
        one, other = (load_file(tmp_path / run / f"best/{name}.safetensors") for run in ("one", "third"))
        assert all(torch.equal(weight, other[key]) for key, weight in one.items())
    before = (tmp_path / "one/pseudo_labels/metadata.tsv").stat().st_mtime_ns
    assert main(["finetune", *data_of(few), *common, *switch]) == 0, "called again, nothing is done again"
    assert (tmp_path / "one/pseudo_labels/metadata.tsv").stat().st_mtime_ns == before


def test_each_epoch_may_be_the_best(few: Path, tmp_path: Path) -> None:
    given = [setting for setting in SETTINGS if not setting.startswith(("run.", "clips"))]
    given += ["clips=6", "run.precision=fp32", "schedule.epochs=3", "pseudo_labels.confidence=0.2"]
    assert main(["finetune", *data_of(few), *given, "pseudo_labels.epochs=1", f"out={tmp_path}"]) == 0
    for run in (tmp_path / "classifier", tmp_path):
        assert [line["step"] for line in lines(run, "valid")] == [2, 4, 6]


@pytest.mark.parametrize("step", ["classifier", "pretraining", "one"])
def test_pseudo_labels_go_on_where_they_were_interrupted(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    given = [*data_of(few), *SETTINGS, "schedule.epochs=4", "pseudo_labels.epochs=2", "run.checkpoint_every=4"]
    given += ["pseudo_labels.confidence=0.5"]
    assert main(["finetune", *given, f"out={tmp_path}/whole"]) == 0
    after_validation = Finetuning.after_validation

    def interrupt(self: Finetuning, folder: Path, model: torch.nn.Module, metrics: dict[str, float]) -> None:
        if folder.name == step:
            raise KeyboardInterrupt
        after_validation(self, folder, model, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(Finetuning, "after_validation", interrupt)
        assert main(["finetune", *given, f"out={tmp_path}/one"]) == 130
    assert main(["finetune", *given, f"out={tmp_path}/one"]) == 0
    one, other = (load_file(tmp_path / name / "best/encoder.safetensors") for name in ("one", "whole"))
    assert all(torch.equal(weight, other[key]) for key, weight in one.items())


def test_pseudo_labels_of_another_confidence_are_found_anew(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*data_of(few), *SETTINGS, "schedule.epochs=4", "pseudo_labels.epochs=1", f"out={tmp_path}"]
    assert main(["finetune", *given, "pseudo_labels.confidence=0.5"]) == 0
    before = (tmp_path / "pseudo_labels/pseudo_labels.tsv").read_text()
    (tmp_path / "config.yaml").unlink()  # as if it had been interrupted before the third step
    capsys.readouterr()
    assert main(["finetune", *given, "pseudo_labels.confidence=0.9"]) == 1
    assert f"{tmp_path}/pseudo_labels/" in capsys.readouterr().err
    assert (tmp_path / "pseudo_labels/pseudo_labels.tsv").read_text() != before


def test_a_run_without_pseudo_labels_is_not_gone_on_with(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*data_of(few), *SETTINGS, "schedule.epochs=1", f"out={tmp_path}"]
    assert main(["finetune", *given]) == 0
    assert main(["finetune", *given, "pseudo_labels.confidence=0.5"]) == 1
    assert f"{tmp_path} holds a run with pseudo_labels.confidence=None" in capsys.readouterr().err
    assert not (tmp_path / "classifier").exists()


def test_without_a_pseudo_label_that_is_kept_the_real_ones_are_learnt(
    few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = [*data_of(few), *SETTINGS, "schedule.epochs=1"]
    given = [*alone, "pseudo_labels.confidence=0.999", "pseudo_labels.epochs=1", f"out={tmp_path}/run"]
    with caplog.at_level("INFO", logger="speechssl"):
        assert main(["finetune", *given]) == 0
    assert f"none of 24 pseudo-labels is kept, {tmp_path}/run/pseudo_labels/pseudo_labels.tsv says why" in caplog.text
    assert "the second step, which learns pseudo-labels, is left out" in caplog.text
    assert caplog.text.count("24 of 36 recordings have no kind: they are left out") == 1
    assert caplog.text.count("train: 12 recordings, ") == caplog.text.count("valid: 45 recordings, ") == 1
    assert len((tmp_path / "run/pseudo_labels/train.tsv").read_text().splitlines()) == 1 + 12
    assert not (tmp_path / "run/pretraining").exists()
    assert main(["finetune", *alone, f"out={tmp_path}/alone"]) == 0
    one, other = (load_file(tmp_path / name / "encoder/encoder.safetensors") for name in ("run", "alone"))
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
    assert main(["finetune", *given]) == 0, "called again, it is the same run"
    (tmp_path / "run/pretraining").mkdir()
    (tmp_path / "run/config.yaml").unlink()
    assert main(["finetune", *given]) == 1, "a second step of other pseudo-labels is not gone on from"


def test_a_pseudo_label_needs_neighbours_and_confidence_both() -> None:
    degrees = [0, 90, 10, 80, 20, 85]
    lengths = np.array([1.0, 5.0, 0.1, 3.0, 7.0, 1.0])
    vectors = (lengths * [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]).T.astype(np.float32)
    posteriors = np.array([[1, 0], [0, 1], [0.9, 0.1], [0.8, 0.2], [0.55, 0.45], [0.3, 0.7]], dtype=np.float32)
    labels = np.array([0, 1, -1, -1, -1, -1])
    found = judge(vectors, posteriors, labels, neighbours=5, confidence=0.6)
    assert found.rows.tolist() == [2, 3, 4, 5]
    assert found.predicted.tolist() == [0, 0, 0, 1] and found.voted.tolist() == [0, 1, 0, 1]
    assert found.outcomes == [KEPT, OUTVOTED, DOUBTFUL, KEPT]
    assert found.confidence == pytest.approx([0.9, 0.8, 0.55, 0.7])


def test_the_vectors_of_a_corpus_are_in_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    vectors, posteriors = (random.random((2000, width), dtype=np.float32) for width in (512, 4))
    labels = np.where(np.arange(2000) % 100, -1, np.arange(2000) // 100 % 4)
    whole = judge(vectors, posteriors, labels, neighbours=5, confidence=0.6)
    monkeypatch.setattr(pseudo_labels, "_VOTES", 150)
    tracemalloc.start()
    in_blocks = judge(vectors, posteriors, labels, neighbours=5, confidence=0.6)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < vectors.nbytes / 2
    assert in_blocks.voted.tolist() == whole.voted.tolist() and in_blocks.outcomes == whole.outcomes


def test_votes_weigh_by_closeness_among_the_nearest() -> None:
    # To 10 degrees: 12 (class 1) at 1 - cos 2 = .0006, weight 1641; 50 and 55 (class 0) at .234 and .293, weights 4.3
    # and 3.4. Two would outvote one. The ten of class 2 are further away, and too many for no more than 3 voters.
    degrees = [50, 55, 12, *range(100, 110), 10]
    vectors = np.array([[np.cos(np.radians(d)), np.sin(np.radians(d))] for d in degrees], dtype=np.float32)
    labels = np.array([0, 0, 1, *[2] * 10, -1])
    posteriors = np.tile(np.array([[0.0, 1.0, 0.0]], dtype=np.float32), (len(degrees), 1))
    assert judge(vectors, posteriors, labels, neighbours=3, confidence=0.5).voted.tolist() == [1]
    vectors[2] = vectors[12]
    assert judge(vectors, posteriors, labels, neighbours=3, confidence=0.5).voted.tolist() == [0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["confidence=1"], "confidence=1.0 must be 0 or more and less than 1"),
        (["neighbours=0"], "neighbours=0 must be more than 0"),
        (["out={few}"], "would be written over: give another folder"),
        (["manifest={few}/valid.tsv"], "45 of the 45 recordings of {few}/valid.tsv have a kind"),
        (["classifier={few}"], "best.json does not exist"),
    ],
)
def test_what_cannot_be_labelled_is_one_line(
    few: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: list[str], message: str
) -> None:
    capsys.readouterr()
    assert label(first, few, tmp_path / "out", *(setting.format(few=few) for setting in settings)) == 1
    error = capsys.readouterr().err.strip()
    assert message.format(few=few) in error and "\n" not in error
    assert not (tmp_path / "out/train.tsv").exists()


def test_where_none_is_kept_the_table_says_why(
    few: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every class is called by the name of another one, so neighbours and classifier disagree."""
    other = Path(shutil.copytree(few, tmp_path / "data"))
    table = other / "metadata.tsv"
    header, *cells = (line.split("\t") for line in table.read_text().splitlines())
    renamed = {"low": "high", "high": "noise", "noise": "low", "": ""}
    table.write_text("".join("\t".join(row) + "\n" for row in [header, *([*r[:3], renamed[r[3]]] for r in cells)]))
    for name in ("train.tsv", "metadata.tsv"):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("of an earlier command")
    assert label(first, other, tmp_path / "out", "confidence=0") == 1
    error = capsys.readouterr().err
    assert "none of 24 pseudo-labels is kept, " in error and error.count("\n") == 1
    assert {row["outcome"] for row in rows(tmp_path / "out/pseudo_labels.tsv")} == {OUTVOTED}
    assert not (tmp_path / "out/train.tsv").exists() and not (tmp_path / "out/metadata.tsv").exists()


def test_a_class_that_the_classifier_has_not_learned_is_named(
    few: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(few, tmp_path / "data"))
    table = other / "metadata.tsv"
    table.write_text(table.read_text().replace("\tlow\n", "\tdeep\n"))
    assert label(first, other, tmp_path / "out") == 1
    assert "has a kind that the classifier has not learned: deep;" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["init_from=exp/some"], "model.norm_updates is set, but init_from=exp/some brings an encoder of its own"),
        (
            ["pseudo_labels.confidence=0.9"],
            "every recording of {train} has a kind: there is none",
        ),
        (["pseudo_labels.confidence=1"], "pseudo_labels.confidence=1.0 must be 0 or more and less than 1"),
        (["pseudo_labels.epochs=2"], "pseudo_labels.epochs is given and pseudo_labels.confidence is not"),
        (["sla.beta=0"], "sla.beta=0 is given and sla.transformations is not"),
        (["sla.transformations=[forwards]"], "setting not accepted: "),
        (["data.cache_gb=inf"], "data.cache_gb=inf must be 0 or more and finite"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: list[str], message: str
) -> None:
    assert main(["finetune", *data, *SETTINGS, "schedule.epochs=1", f"out={tmp_path}", *settings]) == 1
    train = data[0].partition("=")[2]
    assert message.format(train=train) in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_no_recording_with_a_class_is_an_error(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blank = Path(shutil.copytree(few, tmp_path / "data"))
    table = blank / "metadata.tsv"
    header, *cells = (line.split("\t") for line in table.read_text().splitlines())
    table.write_text("".join("\t".join(row) + "\n" for row in [header, *([*row[:3], ""] for row in cells)]))
    assert main(["finetune", *data_of(blank), *SETTINGS, "schedule.epochs=1", f"out={tmp_path}/run"]) == 1
    assert f"none of the 36 recordings of {blank}/train.tsv has a kind" in capsys.readouterr().err


def test_one_class_is_nothing_to_learn(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = Path(shutil.copytree(few, tmp_path / "data"))
    table = one / "metadata.tsv"
    table.write_text(table.read_text().replace("\thigh\n", "\tlow\n").replace("\tnoise\n", "\tlow\n"))
    assert main(["finetune", *data_of(one), *SETTINGS, "schedule.epochs=1", f"out={tmp_path}/run"]) == 1
    assert f"{one}/train.tsv with a kind have one, 'low': there is nothing to tell apart" in capsys.readouterr().err


def test_a_classifier_of_an_earlier_version_is_named(
    few: Path, first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = Path(shutil.copytree(first / "best", tmp_path / "old"))
    facts = json.loads((old / "best.json").read_text())
    del facts["column"]
    (old / "best.json").write_text(json.dumps(facts))
    assert label(old, few, tmp_path / "pseudo") == 1
    assert f"{old}/best.json does not say what its classes are" in capsys.readouterr().err


def test_another_device_learns_from_few_labels_too(few, tmp_path, other_device):
    more = ["sla.transformations=[slower]", "pseudo_labels.confidence=0.5", "schedule.epochs=2"]
    with other_device():
        assert main(["finetune", *data_of(few), *SETTINGS, *more, f"out={tmp_path}/run"]) == 0
    assert (tmp_path / "run/best/best.json").is_file()
