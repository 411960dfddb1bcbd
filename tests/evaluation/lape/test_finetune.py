"""Encoders that learn a task: scored as linear ones, chosen without the test part, resumed, done once."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score

from speechssl import load_encoder
from speechssl.cli.app import main
from speechssl.models.clip_config import ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import HubertConfig
from speechssl.models.save import save_encoder
from speechssl.training.clips.classifier import Classifier
from speechssl.training.clips.finetune import Finetuning
from tests.evaluation.lape.conftest import PITCHES, write_manifests, write_tones

FAST = ["epochs=5", "lr=[3e-3]", "batch_size=12", "seeds=[1]", "workers=1", "finetune.precision=fp32"]
TASK = ["task.name=tones", "task.column=class", "task.clip_seconds=0.5"]


@pytest.fixture(scope="module")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AudioNTT that is small enough for tests."""
    folder = tmp_path_factory.mktemp("clips") / "small"
    torch.manual_seed(5)
    save_encoder(folder, ClipEncoder(ClipConfig(audio_ntt_dim=64, norm_updates=4)))
    return folder


def call(out: Path, encoder: Path, *settings: str) -> int:
    given = ["benchmark=lape", "mode=finetune", *TASK, *FAST, f"out_dir={out}", f"encoders={{tiny: {encoder}}}"]
    return main(["evaluate", *given, *settings])


def finetune(out: Path, encoder: Path, *settings: str) -> dict[str, Any]:
    assert call(out, encoder, *settings) == 0
    return json.loads((out / "tones/finetune/results.json").read_text())


def the_run(out: Path, name: str = "tiny-*", run: str = "run-lr0.003") -> Path:
    (found,) = (out / "tones/finetune").glob(f"{name}/seed*/{run}")
    return found


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics/valid.jsonl").read_text().splitlines()]


def best(run: Path) -> dict[str, Any]:
    return json.loads((run / "best/best.json").read_text())


def best_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "best/encoder.safetensors") | load_file(run / "best/classifier.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(weight, other[name]) for name, weight in one.items())


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finetuned")


@pytest.fixture(scope="module")
def results(out: Path, tones: Path, clip_dir: Path) -> dict[str, Any]:
    return finetune(out, clip_dir, f"corpus_dir={tones}", "label_fractions=[0.2,1]")


def test_encoders_and_those_from_scratch_learn_the_task(out: Path, results: dict[str, Any]) -> None:
    assert results["mode"] == "finetune" and [row["name"] for row in results["encoders"]] == ["random", "tiny"]
    assert {"what": "fbank", "reason": "filterbanks have no weights, so they cannot be fine-tuned"} in results[
        "left_out"
    ]
    for name in ("random", "tiny"):
        assert results["summary"][name]["1"]["accuracy"]["mean"] > 0.8 > results["task"]["chance"]
        few, all_labels = (score["parts"][0] for score in results["scores"][name])
        assert (few["train"], all_labels["train"]) == (9, results["task"]["divisions"][0]["train"])
    page = (out / "results.md").read_text()
    assert "tones (fine-tuned, sound)" in page and "`random` is supervised training from scratch" in page
    assert set(json.loads((out / "results.json").read_text())["tasks"]) == {"tones/finetune"}


def test_labels_are_augmented_where_the_settings_say_so(tmp_path: Path, tones: Path, clip_dir: Path) -> None:
    given = [f"corpus_dir={tones}", "finetune.sla.transformations=[faster]", "baselines=[]"]
    results = finetune(tmp_path, clip_dir, *given)
    train = [json.loads(line) for line in (the_run(tmp_path) / "metrics/train.jsonl").read_text().splitlines()]
    assert train[-1]["joint_loss"] < train[0]["joint_loss"]
    assert results["settings"]["finetune"]["sla"]["transformations"] == ["faster"]
    assert results["summary"]["tiny"]["1"]["accuracy"]["mean"] > 0.8


def test_pseudo_labels_are_those_of_the_training_clips_that_the_fraction_leaves_out(
    tmp_path: Path, tones: Path, clip_dir: Path
) -> None:
    given = [f"corpus_dir={tones}", "label_fractions=[0.2]", "finetune.pseudo_labels.confidence=0.5", "baselines=[]"]
    results = finetune(tmp_path, clip_dir, *given)
    (part,), run = results["scores"]["tiny"][0]["parts"], the_run(tmp_path)
    division = results["task"]["divisions"][0]
    listed = list(csv.DictReader((run.parent / "data/metadata.tsv").open(), delimiter="\t"))
    train = [row for row in listed if row["split"] == "train"]
    assert len(train) == division["train"] and sum(row["class"] != "" for row in train) == part["train"] == 9
    found = list(csv.DictReader((run / "pseudo_labels/pseudo_labels.tsv").open(), delimiter="\t"))
    assert {row["path"] for row in found} == {row["path"] for row in train if not row["class"]}
    assert part["pseudo_labels"] == sum(row["outcome"] == "kept" for row in found) > 0
    assert not list(run.rglob("checkpoints"))
    assert "those above a confidence of 0.5" in (tmp_path / "results.md").read_text()


def test_the_score_is_that_of_the_best_epoch_on_clips_padded_or_cut_in_the_middle(
    out: Path, results: dict[str, Any], tones: Path
) -> None:
    (run,) = (out / "tones/finetune").glob("tiny-*/seed1-labels1-*/run-lr0.003")
    (part,) = results["scores"]["tiny"][1]["parts"]
    accuracies = {line["step"]: line["accuracy"] for line in lines(run)}
    updates = part["train"] // 12
    assert list(accuracies) == [updates * epoch for epoch in range(1, 6)]
    assert part["valid_accuracy"] == pytest.approx(max(accuracies.values()))
    assert accuracies[part["epoch"] * updates] == max(accuracies.values())

    listed = {line.split("\t")[0] for file in run.parent.glob("data/*.tsv") for line in file.read_text().splitlines()}
    test = [path for path in tones.rglob("*.wav") if path.relative_to(tones).as_posix() not in listed]
    assert len(test) == results["task"]["divisions"][0]["test"]
    model = Classifier(load_encoder(run / "best"), 3).eval()
    model.classifier.load_state_dict(load_file(run / "best/classifier.safetensors"))
    clips = np.zeros((len(test), 8000), dtype=np.float32)
    for clip, path in zip(clips, test, strict=True):
        wave = soundfile.read(path, dtype="float32")[0]
        wave = wave[max(0, len(wave) - 8000) // 2 :][:8000]
        clip[(8000 - len(wave)) // 2 :][: len(wave)] = wave
    with torch.no_grad():
        found = model.logits(torch.from_numpy(clips)).argmax(dim=1).tolist()
    truth = [sorted(PITCHES).index(path.parent.name) for path in test]
    assert accuracy_score(truth, found) == pytest.approx(part["accuracy"])


def test_a_second_call_trains_nothing(
    out: Path, results: dict[str, Any], tones: Path, clip_dir: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: object) -> None:
        raise AssertionError("a finished run was trained again")

    monkeypatch.setattr(Finetuning, "build_model", trained)
    given = (f"corpus_dir={tones}", "label_fractions=[0.2,1]")
    assert finetune(out, clip_dir, *given) == results
    assert "evaluate: done before and unchanged" in capsys.readouterr().out
    (out / "tones/finetune/.evaluate.done").unlink()
    assert finetune(out, clip_dir, *given)["scores"] == results["scores"]
    assert not list(out.rglob("checkpoints"))


@pytest.fixture(scope="module")
def hubert_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A HuBERT that hears tones: filterbanks, normalised over time, do not."""
    folder = tmp_path_factory.mktemp("huberts") / "small"
    torch.manual_seed(3)
    layers = [[32, 32, 16], [32, 5, 5], [32, 4, 4]]
    config = HubertConfig(conv_layers=layers, conv_norm="layer", num_layers=1, dim=16, ffn_dim=32, num_heads=2)
    save_encoder(folder, HubertEncoder(config))
    return folder


def test_hubert_encoders_learn_too_with_the_rate_that_is_best_on_validation(
    tmp_path: Path, data_dir: Path, hubert_dir: Path
) -> None:
    results = finetune(tmp_path, hubert_dir, f"data_dir={data_dir}", "lr=[1e-6,3e-3]", "epochs=4")
    for name in ("random", "tiny"):
        slow, fast = (the_run(tmp_path, f"{name}-*", f"run-lr{lr}") for lr in ("1e-06", "0.003"))
        (part,) = results["scores"][name][0]["parts"]
        assert part["accuracy"] > 0.8 and part["lr"] == 3e-3
        assert part["valid_accuracy"] == pytest.approx(best(fast)["accuracy"]) and best(slow)["accuracy"] < 0.8
        before, after = (load_encoder(folder).state_dict() for folder in (fast.parents[1] / "start", fast / "best"))
        assert any("layers.0" in key and not torch.equal(weight, after[key]) for key, weight in before.items())


def test_sound_knows_neither_audio_nor_labels_of_the_test_part_before_all_runs_are_over(
    tmp_path: Path, clip_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = write_tones(tmp_path / "audio")
    data = write_manifests(audio, tmp_path / "data")
    given = ("task.split=official", "epochs=3", "baselines=[]")
    table = data / "metadata.tsv"
    other = Path(shutil.copytree(data, tmp_path / "shuffled")) / "metadata.tsv"
    header, *rows = (line.split("\t") for line in table.read_text().splitlines())
    split, label = header.index("split"), header.index("class")
    tested = [row for row in rows if row[split] == "test"]
    for row, name in zip(tested, [row[label] for row in tested[5:] + tested[:5]], strict=True):
        row[label] = name
    other.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
    shuffled = finetune(tmp_path / "other", clip_dir, f"data_dir={other.parent}", *given)

    hidden = shutil.copytree(audio, tmp_path / "hidden")
    for row in tested:
        (audio / row[0]).unlink()
    assert call(tmp_path / "out", clip_dir, f"data_dir={data}", *given) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert same(best_weights(the_run(tmp_path / "out")), best_weights(the_run(tmp_path / "other")))
    shutil.copytree(hidden, audio, dirs_exist_ok=True)
    results = finetune(tmp_path / "out", clip_dir, f"data_dir={data}", *given)
    one, two = (found["scores"]["tiny"][0]["parts"][0] for found in (results, shuffled))
    assert (one["epoch"], one["valid_accuracy"]) == (two["epoch"], two["valid_accuracy"])
    assert one["accuracy"] != two["accuracy"]


def test_paper_is_the_maximum_over_the_epochs_of_the_test_accuracy_and_says_so(
    tmp_path: Path, data_dir: Path, clip_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (f"data_dir={data_dir}", "baselines=[]", "protocol=paper", "epochs=3", "finetune.precision=bf16")
    results = finetune(tmp_path, clip_dir, *given)
    run = the_run(tmp_path)
    (part,) = results["scores"]["tiny"][0]["parts"]
    assert part["accuracy"] == pytest.approx(max(line["accuracy"] for line in lines(run))) and len(lines(run)) == 3
    assert len((run.parent / "data/valid.tsv").read_text().splitlines()) - 1 == results["task"]["divisions"][0]["test"]
    assert "valid_accuracy" not in part
    said = "MAXIMUM of the test accuracy over the epochs"
    texts = [capsys.readouterr().out, *((tmp_path / f"results.{name}").read_text() for name in ("md", "tex", "json"))]
    assert all(said in text for text in texts)


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    tmp_path: Path, data_dir: Path, clip_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (f"data_dir={data_dir}", "baselines=[]", "epochs=5", "finetune.checkpoint_every=1")
    whole = finetune(tmp_path / "whole", clip_dir, *given)
    after_validation = Finetuning.after_validation

    def interrupt(self: Finetuning, folder: Path, model: torch.nn.Module, metrics: dict[str, float]) -> None:
        if metrics["step"] == 16:
            raise KeyboardInterrupt
        after_validation(self, folder, model, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(Finetuning, "after_validation", interrupt)
        assert call(tmp_path / "out", clip_dir, *given) == 130
    assert not (tmp_path / "out/tones/finetune/results.json").exists()
    steps = []

    def note(self: Finetuning, folder: Path, model: torch.nn.Module, metrics: dict[str, float]) -> None:
        steps.append(metrics["step"])
        after_validation(self, folder, model, metrics)

    monkeypatch.setattr(Finetuning, "after_validation", note)
    assert finetune(tmp_path / "out", clip_dir, *given)["scores"] == whole["scores"]
    assert steps == [16, 20], "the checkpoint of the interrupted epoch does not count, that before it does"
    one, other = the_run(tmp_path / "out"), the_run(tmp_path / "whole")
    assert same(best_weights(one), best_weights(other)) and best(one) == best(other)
    assert [line["step"] for line in lines(one)] == [4, 8, 12, 16, 20]


def test_two_processes_share_every_run_and_one_of_them_tests(tmp_path: Path, data_dir: Path, hubert_dir: Path) -> None:
    """As torchrun starts them. Batch norm would need GPUs, so a HuBERT encoder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    given = ["benchmark=lape", "mode=finetune", *TASK, *FAST, f"data_dir={data_dir}", f"out_dir={tmp_path}"]
    given += [f"encoders={{tiny: {hubert_dir}}}", "baselines=[]", "seeds=[1,2]", "epochs=4"]
    given += ["label_fractions=[0.5]", "finetune.pseudo_labels.confidence=0.4"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "speechssl", "evaluate", *given],
            env={**os.environ, **meeting, "RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in ("0", "1")
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert ["all tasks in" in text for text in said] == [True, False]
    results = json.loads((tmp_path / "tones/finetune/results.json").read_text())
    assert results["summary"]["tiny"]["0.5"]["accuracy"]["mean"] > 0.8
    assert all(score["parts"][0]["pseudo_labels"] > 0 for score in results["scores"]["tiny"])
    logs = [path.name for path in (tmp_path / "tones/finetune").glob("tiny-*/*/run-*/log/*.log")]
    assert sorted(logs) == ["fairseq2-rank0.log"] * 2 + ["fairseq2-rank1.log"] * 2


def test_runs_on_other_data_are_not_gone_on_with(
    tmp_path: Path, data_dir: Path, clip_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(data_dir, tmp_path / "data")
    given = (f"data_dir={data}", "baselines=[]", "epochs=1")
    finetune(tmp_path / "out", clip_dir, *given)
    table = data / "metadata.tsv"
    table.write_text(table.read_text().replace("\tlow\t", "\tdeep\t"))
    capsys.readouterr()
    assert call(tmp_path / "out", clip_dir, *given) == 1
    error = capsys.readouterr().err
    said = "has a run on other data than the task's are now, or with other pseudo-labels"
    assert f"{said}: delete {tmp_path}/out/tones/finetune" in error
    assert error.count("\n") == 1


def test_a_class_that_train_lacks_is_never_right(tmp_path: Path, data_dir: Path, clip_dir: Path) -> None:
    data = shutil.copytree(data_dir, tmp_path / "data")
    table = data / "metadata.tsv"
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    split, label = rows[0].index("split"), rows[0].index("class")
    for number, row in enumerate(row for row in rows[1:] if row[split] == "valid"):
        row[label] = "strange" if number < 3 else row[label]
    table.write_text("".join("\t".join(row) + "\n" for row in rows))
    names = ["high", "low", "middle", "strange"]
    distances = tmp_path / "distances.tsv"
    far = [[name, *("0" if name == other else "1" for other in names)] for name in names]
    distances.write_text("".join("\t".join(row) + "\n" for row in [["class", *names], *far]))
    given = ("task.split=official", "epochs=2", "baselines=[]", f"task.distances={distances}")
    results = finetune(tmp_path, clip_dir, f"data_dir={data}", *given)
    (part,) = results["scores"]["tiny"][0]["parts"]
    # All classes are as far from one another, and one has no probability.
    assert part["loki_accuracy"] == part["accuracy"] == pytest.approx(1 - part["loki_mean_distance"])
    assert part["valid_accuracy"] == pytest.approx(max(line["accuracy"] for line in lines(the_run(tmp_path))) * 9 / 12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["standardise=true"], "standardise is for mode=linear"),
        (["finetune.checkpoint_every=0"], "finetune.checkpoint_every=0 must be 1 or more"),
        (["device=tpu"], "device=tpu cannot be used here"),
        (["finetune.pseudo_labels.confidence=0.9"], "with all labels no clip is unlabelled: leave 1 out of"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    tmp_path: Path, data_dir: Path, clip_dir: Path, settings: list[str], message: str, capsys: Any
) -> None:
    assert call(tmp_path, clip_dir, f"data_dir={data_dir}", *settings) == 1
    assert message in capsys.readouterr().err and not list(tmp_path.rglob("run-lr*"))


def test_filterbanks_alone_are_refused(tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [*TASK, f"out_dir={tmp_path}", f"data_dir={data_dir}", "encoders={}", "baselines=[fbank]"]
    assert main(["evaluate", "benchmark=lape", "mode=finetune", *given]) == 1
    assert "mode=finetune has nothing to fine-tune" in capsys.readouterr().err


def test_another_device_learns_and_scores_too(
    tmp_path: Path, tones: Path, hubert_dir: Path, other_device: Callable
) -> None:
    with other_device():
        results = finetune(tmp_path, hubert_dir, f"corpus_dir={tones}", "epochs=2", "baselines=[]")
    assert 0 <= results["scores"]["tiny"][0]["accuracy"] <= 1
