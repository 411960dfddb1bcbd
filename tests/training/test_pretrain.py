"""Whole runs: killed and resumed, on two processes, with bad input."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from speechssl import load_encoder
from speechssl.cli.app import main
from speechssl.data.labels import LabelInfo, read_labels, write_labels
from speechssl.data.manifest import read_manifest
from speechssl.errors import UserError
from speechssl.files import checksum
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import HubertConfig
from speechssl.models.save import save_encoder
from speechssl.training.run_folder import RunFolder
from speechssl.training.settings import Parallel, PretrainSettings, ScheduleSettings
from speechssl.training.trainable import initial_weights
from tests.training.conftest import TINY, Corpus, make_corpus

# As many threads as this process has: sums depend on it.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
WAVEFORM = ("model.front_end=waveform", "model.conv_layers=[[16,10,5],[16,8,8],[16,8,8]]", "batch.seconds=3")


def command(corpus: Corpus, *more: str) -> list[str]:
    return ["-m", "speechssl", "pretrain", *corpus.settings(*more)]


def run(arguments: list[str], **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=ENVIRONMENT, timeout=300, **more
    )


def lines(run_folder: Path, split: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_folder / "metrics" / f"{split}.jsonl").read_text().splitlines()]


def weights(run_folder: Path) -> dict[str, torch.Tensor]:
    files = [run_folder / "encoder" / f"{name}.safetensors" for name in ("encoder", "heads")]
    return {name: weight for file in files for name, weight in load_file(file).items()}


def test_killed_and_resumed_is_as_never_killed(corpus, tmp_path, caplog):
    settings = ("objective=hubertopic", "schedule.steps=24")
    assert main(["pretrain", *corpus.settings(*settings, f"out={tmp_path}/whole")]) == 0

    arguments = [sys.executable, *command(corpus, *settings, f"out={tmp_path}/killed")]
    process = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("checkpoints/step_[0-9]")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "checkpoints" / "step_24").exists(), "the run ended before it was killed"
    caplog.set_level(logging.INFO)
    assert main(["pretrain", *corpus.settings(*settings, f"out={tmp_path}/killed")]) == 0
    assert "going on from update" in caplog.text

    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert expected.keys() == found.keys()
    for name, weight in expected.items():
        assert torch.equal(weight, found[name]), name
    steps = [line["step"] for line in lines(tmp_path / "killed", "train")]
    assert steps == list(range(1, 25)), "each update is logged once"
    losses = [line["masked_loss"] for line in lines(tmp_path / "killed", "train")]
    assert losses == [line["masked_loss"] for line in lines(tmp_path / "whole", "train")]
    encoder = load_encoder(tmp_path / "killed")
    assert encoder(torch.randn(1, 16_000)).hidden_states[-1].shape == (1, 24, 32)


@pytest.mark.parametrize(("parallel", "optimizer"), [("ddp", "muon"), ("fsdp", "adamw")])
def test_two_processes_are_one_with_twice_the_batch(corpus, tmp_path, parallel, optimizer):
    dropout = [f"model.{name}=0" for name in ("dropout", "attention_dropout", "input_dropout", "layerdrop")]
    settings = (
        "objective=hubertopic",
        "schedule.steps=6",
        "batch.total_seconds=8",
        f"optim.kind={optimizer}",
        *dropout,
    )
    assert main(["pretrain", *corpus.settings(*settings, "batch.seconds=16", f"out={tmp_path}/alone")]) == 0
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29731"]
    out = tmp_path / "both"
    more = ("batch.seconds=8", f"run.parallel={parallel}", f"out={out}")
    both = run([*launcher, *command(corpus, *settings, *more)])
    assert both.returncode == 0, both.stderr
    for split in ("train", "valid"):
        for expected, found in zip(lines(tmp_path / "alone", split), lines(out, split), strict=True):
            for name in ("masked_loss", "topic_loss", "masked_accuracy"):
                assert found[name] == pytest.approx(expected[name], rel=1e-4), (split, name)
            if split == "train":
                assert found["audio_seconds"] == expected["audio_seconds"] > 0
    found = weights(out)
    for name, weight in weights(tmp_path / "alone").items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=2e-4, msg=lambda text, m=name: f"{m}: {text}")


def test_losses_fall_and_iterations_chain(corpus, tmp_path):
    settings = ("objective=hubert", "optim.lr=0.01")
    assert main(["pretrain", *corpus.settings(*settings, "schedule.steps=40", f"out={tmp_path}/one")]) == 0
    losses = [line["masked_loss"] for line in lines(tmp_path / "one", "train")]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 0.1
    more = (*settings, "schedule.steps=2", f"init_from={tmp_path}/one", f"out={tmp_path}/two")
    assert main(["pretrain", *corpus.settings(*more)]) == 0
    first = lines(tmp_path / "two", "train")[0]["masked_loss"]
    assert first < sum(losses[:5]) / 5 - 0.1, "the second run starts from the first one's weights"


def test_an_edited_configuration_is_another_start(tmp_path):
    encoder = HubertEncoder(HubertConfig(front_end="fbank", num_layers=1, dim=16, ffn_dim=16, num_heads=2))
    save_encoder(tmp_path / "one" / "encoder", encoder)
    before = initial_weights(str(tmp_path / "one"))
    assert {Path(file).name for file in before} == {"encoder.json", "encoder.safetensors"}
    description = tmp_path / "one" / "encoder" / "encoder.json"
    description.write_text(description.read_text().replace('"layer_norm_first": false', '"layer_norm_first": true'))
    assert initial_weights(str(tmp_path / "one")) != before
    assert initial_weights(str(tmp_path / "gone")) == initial_weights(None) == {}


def test_minutes_fix_the_number_of_updates(corpus, tmp_path):
    settings = corpus.settings("schedule.minutes=0.02", f"out={tmp_path}/timed")
    assert main(["pretrain", *settings]) == 0
    steps = json.loads((tmp_path / "timed" / "run.json").read_text())["steps"]
    assert lines(tmp_path / "timed", "train")[-1]["step"] == steps > 1
    before = weights(tmp_path / "timed")
    assert main(["pretrain", *settings]) == 0
    assert all(torch.equal(weight, before[name]) for name, weight in weights(tmp_path / "timed").items())


def broken(corpus: Corpus) -> None:
    """Make one recording so loud that its filterbank overflows."""
    path = corpus.folder / "audio" / "train3.wav"
    wave, _ = soundfile.read(path, dtype="float32")
    soundfile.write(path, wave * 1e30, 16_000, subtype="FLOAT")


def test_updates_that_are_not_finite_are_skipped_and_named(tmp_path, caplog):
    corpus = make_corpus(tmp_path)
    broken(corpus)
    settings = corpus.settings("schedule.steps=8", "run.max_skipped=50", f"out={tmp_path}/run")
    assert main(["pretrain", *settings]) == 0
    skipped = [record.getMessage() for record in caplog.records if "skipped update" in record.getMessage()]
    assert skipped and "train3.wav" in skipped[0]
    assert all(weight.isfinite().all() for weight in weights(tmp_path / "run").values())


def test_too_many_skipped_updates_stop_the_run(tmp_path, capsys):
    corpus = make_corpus(tmp_path)
    broken(corpus)
    settings = corpus.settings("schedule.steps=200", "run.max_skipped=1", f"out={tmp_path}/run")
    assert main(["pretrain", *settings]) == 1
    message = capsys.readouterr().err
    assert "2 updates had a loss that is not finite" in message and "train3.wav" in message
    assert "raise run.max_skipped=1 to go on, or begin again with another out=" in message
    assert main(["pretrain", *settings, "run.max_skipped=2"]) == 1, "the run folder takes a higher limit"
    assert "3 updates had a loss that is not finite" in capsys.readouterr().err


def test_a_first_epoch_without_an_update_is_no_finished_run(tmp_path, capsys):
    corpus = make_corpus(tmp_path)
    broken(corpus)
    settings = corpus.settings("schedule.steps=8", "batch.total_seconds=600", f"out={tmp_path}/run")
    assert main(["pretrain", *settings]) == 1
    message = capsys.readouterr().err
    assert "every update of the first epoch (1) had a loss that is not finite" in message and "train3.wav" in message
    assert not (tmp_path / "run" / "encoder").exists()


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["pretrain", *arguments]) == 1
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1, "one clear line"
    return message


def test_bad_input_is_one_line(corpus, tmp_path, capsys):
    out = f"out={tmp_path}/run"
    steps = "schedule.steps=2"
    assert "did you mean 'model.num_layers'" in fails(corpus.settings(steps, out, "model.num_layer=3"), capsys)
    assert "give one of schedule.steps" in fails(corpus.settings(out), capsys)
    assert "schedule.steps=0 must be more than 0" in fails(corpus.settings("schedule.steps=0", out), capsys)
    assert "run.log_every=0 must be 1 or more" in fails(corpus.settings(steps, out, "run.log_every=0"), capsys)
    assert "objective.layers must name" in fails(corpus.settings(steps, out, "objective.layers=[]"), capsys)
    assert "there are no topics" in fails(
        corpus.settings(steps, out, "objective=hubertopic", "data.topics=null"), capsys
    )
    unread = fails(corpus.settings(steps, out, f"data.topics={corpus.topics}"), capsys)
    assert "give objective=hubertopic, or leave data.topics out" in unread
    idle = fails(corpus.settings(steps, out, "objective.feature_penalty=0"), capsys)
    assert "objective.feature_penalty=0 is not read with model.front_end=fbank" in idle
    idle = fails(corpus.settings(steps, out, "model.feature_grad_mult=0"), capsys)
    assert "model.feature_grad_mult=0 is not read with model.fbank_subsampling=stack" in idle
    assert "objective.temperature=0.0 must be more than 0" in fails(
        corpus.settings(steps, out, "objective.temperature=0"), capsys
    )
    assert "optim.lr=-1.0 must be more than 0" in fails(corpus.settings(steps, out, "optim.lr=-1"), capsys)
    assert "optim.clip=0.0 must be more than 0" in fails(corpus.settings(steps, out, "optim.clip=0"), capsys)
    assert "data.label_rate=-3.0 must be 0 or more" in fails(corpus.settings(steps, out, "data.label_rate=-3"), capsys)
    assert "run.max_skipped=-5 must be 0 or more" in fails(corpus.settings(steps, out, "run.max_skipped=-5"), capsys)
    for layers in ("[-1,-1]", "[-1,2]"):
        twice = fails(corpus.settings(steps, out, f"objective.layers={layers}"), capsys)
        assert "names a hidden state twice" in twice
    for name in ("topic_weight", "unmasked_weight", "feature_penalty"):
        negative = fails(corpus.settings(steps, out, f"objective.{name}=-1"), capsys)
        assert f"objective.{name}=-1.0 must be 0 or more" in negative
    assert "model.cls_frame=true" in fails(corpus.settings(steps, out, "objective.topic_pool=cls"), capsys)
    assert "lower data.max_seconds" in fails(corpus.settings(steps, out, "batch.seconds=0.2"), capsys)
    assert "objective.layers: layer 7 is not among the 3" in fails(
        corpus.settings(steps, out, "objective.layers=[7]"), capsys
    )
    assert "data.min_seconds=9.0 or longer" in fails(corpus.settings(steps, out, "data.min_seconds=9"), capsys)
    nowhere = f"out={tmp_path}/nowhere"
    assert "does not exist" in fails(corpus.settings(steps, nowhere, f"data.train={tmp_path}/none.tsv"), capsys)
    assert "run.device=tpu cannot be used here" in fails(corpus.settings(steps, nowhere, "run.device=tpu"), capsys)
    assert not (tmp_path / "nowhere").exists()
    assert "frame_rate" in fails(corpus.settings(steps, out, "data.label_rate=50"), capsys)


@pytest.mark.parametrize("text", ["", "[a]", "a: [", "\x00"])
def test_a_folder_with_something_else_is_left_alone(corpus, tmp_path, capsys, text):
    (tmp_path / "config.yaml").write_text(text)
    error = fails(corpus.settings("schedule.steps=2", f"out={tmp_path}"), capsys)
    assert f"{tmp_path}/config.yaml has no settings of a run: give another out=" in error
    assert (tmp_path / "config.yaml").read_text() == text


def test_a_folder_in_use_is_left_alone(corpus, tmp_path, capsys):
    (tmp_path / "log").mkdir()
    with open(tmp_path / "log" / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "another process is training" in fails(corpus.settings("schedule.steps=2", f"out={tmp_path}"), capsys)
    assert not (tmp_path / "config.yaml").exists()


def test_a_recording_that_is_gone_is_named(tmp_path, capsys):
    corpus = make_corpus(tmp_path)
    (corpus.folder / "audio" / "train3.wav").unlink()
    assert "train3.wav" in fails(corpus.settings("schedule.steps=8", f"out={tmp_path}/run"), capsys)


def test_a_checkpoint_is_for_as_many_processes_as_wrote_it(tmp_path):
    for rank in range(2):
        file = tmp_path / "checkpoints" / "step_4" / "trainer" / f"rank_{rank:02d}.pt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    def check(parallel: Parallel, processes: int) -> None:
        settings = PretrainSettings(out=str(tmp_path), schedule=ScheduleSettings(steps=8))
        settings.run.parallel = parallel
        RunFolder(settings).check_same_processes(4, processes)

    for parallel in Parallel:
        check(parallel, 2)
        with pytest.raises(UserError, match=r"written by 2 processes, so 3 cannot"):
            check(parallel, 3)
    check(Parallel.ddp, 1)
    with pytest.raises(UserError, match="so 1 cannot go on"):
        check(Parallel.fsdp, 1)


def test_labels_of_two_kmeans_are_refused(tmp_path, capsys):
    corpus = make_corpus(tmp_path, kmeans={"train": "one", "valid": "two"})
    assert "two different k-means" in fails(corpus.settings("schedule.steps=2", f"out={tmp_path}/run"), capsys)


def test_muon_is_refused_where_matrices_are_cut(corpus, tmp_path, capsys):
    settings = corpus.settings("optim.kind=muon", "run.parallel=fsdp", "schedule.steps=2", f"out={tmp_path}/run")
    assert "use run.parallel=ddp, or optim.kind=adamw" in fails(settings, capsys)


def test_another_run_is_not_overwritten(corpus, tmp_path, capsys):
    out = f"out={tmp_path}/run"
    assert main(["pretrain", *corpus.settings("schedule.steps=2", out)]) == 0
    message = fails(corpus.settings("schedule.steps=2", out, "model.dim=64"), capsys)
    assert "model.dim=32, not 64" in message
    message = fails(
        corpus.settings("schedule.steps=2", f"out={tmp_path}/other", "model.dim=64", f"init_from={tmp_path}/run"),
        capsys,
    )
    assert "init_from" in message and "does not fit model.dim=64: its encoder was made with 32" in message


def test_an_encoder_of_another_kind_is_no_start_though_its_weights_fit(corpus, tmp_path, capsys):
    assert main(["pretrain", *corpus.settings("schedule.steps=2", f"out={tmp_path}/run")]) == 0
    given = ("schedule.steps=2", f"init_from={tmp_path}/run", f"out={tmp_path}/next")
    message = fails(corpus.settings(*given, "model.layer_norm_first=true"), capsys)
    assert "does not fit model.layer_norm_first=True: its encoder was made with False" in message
    # What is read in training only may change.
    assert main(["pretrain", *corpus.settings(*given, "model.dropout=0.3", "model.layerdrop=0")]) == 0


def test_heads_that_are_cut_off_are_named(corpus, tmp_path, capsys):
    assert main(["pretrain", *corpus.settings("schedule.steps=2", f"out={tmp_path}/run")]) == 0
    (tmp_path / "run/encoder/heads.safetensors").write_bytes(b"cut")
    settings = corpus.settings("schedule.steps=2", f"out={tmp_path}/next", f"init_from={tmp_path}/run")
    assert "heads.safetensors is not a whole safetensors file" in fails(settings, capsys)


def test_the_batch_size_of_a_run_may_change_unless_it_crops(corpus, tmp_path, capsys):
    pads = corpus.settings("schedule.steps=2", f"out={tmp_path}/pads")
    assert main(["pretrain", *pads]) == 0
    assert main(["pretrain", *pads, "batch.seconds=30"]) == 0
    crops = corpus.settings("schedule.steps=2", "batch.fit=crop", f"out={tmp_path}/crops")
    assert main(["pretrain", *crops]) == 0
    assert "batch.seconds=80" in fails([*crops, "batch.seconds=30"], capsys)


def test_a_finished_run_is_left_alone_and_changed_labels_are_seen(tmp_path, capsys, caplog):
    corpus = make_corpus(tmp_path)
    settings = corpus.settings("schedule.steps=2", f"out={tmp_path}/run")
    assert main(["pretrain", *settings]) == 0
    caplog.set_level("INFO")
    written = (tmp_path / "run" / "encoder" / "encoder.safetensors").stat().st_mtime_ns
    assert main(["pretrain", *settings]) == 0
    assert "trained before" in caplog.text
    assert (tmp_path / "run" / "encoder" / "encoder.safetensors").stat().st_mtime_ns == written
    labels = read_labels(corpus.units / "train.km")
    write_labels(corpus.units / "train.km", [9 - labels[row] for row in range(len(labels))], labels.info)
    assert "train.km has changed since the run" in fails(settings, capsys)


def test_a_recording_replaced_by_another_of_its_length_is_seen(tmp_path, capsys):
    audio, data, units = make_corpus(tmp_path).folder / "audio", tmp_path / "listed", tmp_path / "labels"
    rows = [f"{file.name}\t{split}\n" for split in ("train", "valid") for file in audio.glob(f"{split}*.wav")]
    (audio / "metadata.tsv").write_text("path\tsplit\n" + "".join(rows))
    listing = ["manifest", "corpus=folder", f"corpus.audio_dir={audio}", f"out={data}"]
    assert main(listing) == 0
    for split in ("train", "valid"):
        samples = read_manifest(data / f"{split}.tsv").samples.tolist()
        info = LabelInfo(100.0, 10, "generated", "one", checksum(data / f"{split}.tsv"))
        write_labels(units / f"{split}.km", [np.arange(count // 160) % 10 for count in samples], info)
    inputs = (f"data.train={data}/train.tsv", f"data.valid={data}/valid.tsv", f"data.labels=[{units}]")
    settings = [*inputs, *TINY, "schedule.steps=2", f"out={tmp_path}/run"]
    assert main(["pretrain", *settings]) == 0
    wave, rate = soundfile.read(audio / "train3.wav")
    soundfile.write(audio / "train3.wav", wave[::-1], rate)
    assert main(listing) == 0
    assert "audio.json has changed since the run" in fails(settings, capsys)


def test_no_environment_variable_is_logged(corpus, tmp_path):
    environment = {**ENVIRONMENT, "SPEECHSSL_TEST_SECRET": "swordfish-4711"}
    arguments = [sys.executable, *command(corpus, "schedule.steps=2", f"out={tmp_path}/run")]
    done = subprocess.run(arguments, capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0
    written = done.stdout + done.stderr
    for file in (tmp_path / "run").rglob("*"):
        written += file.read_bytes() if file.is_file() else b""
    assert b"swordfish" not in written


@pytest.mark.parametrize(
    "more",
    [
        ("objective=hubertopic", "objective.topic_pool=cls", "model.cls_frame=true", "objective.topic_targets=hard"),
        ("objective=hubertopic", "objective.topic_layer=1", "objective.layers=[1,2]"),
        ("batch.fit=crop", "schedule=infinite", "model.layerdrop=0.5"),
        WAVEFORM,
    ],
)
def test_variants_train(corpus, tmp_path, more):
    assert main(["pretrain", *corpus.settings(*more, "schedule.steps=3", f"out={tmp_path}/run")]) == 0
    assert all(weight.isfinite().all() for weight in weights(tmp_path / "run").values())
    load_encoder(tmp_path / "run")


def test_labels_of_fairseq_train_though_one_split_lacks_the_largest(corpus, tmp_path):
    (tmp_path / "units").mkdir()
    for split, most in (("train", 8), ("valid", 9)):
        rows = (corpus.units / f"{split}.km").read_text().splitlines()
        lower = [" ".join(str(min(int(unit), most)) for unit in row.split()) for row in rows]
        lower[-1] = f"{lower[-1][:-1]}{most}"  # at least one label is the largest
        (tmp_path / f"units/{split}.km").write_text("\n".join([*lower, ""]))
    bare = (f"data.labels=[{tmp_path}/units]", "data.label_rate=100", "schedule.steps=4", f"out={tmp_path}/run")
    assert main(["pretrain", *corpus.settings(*bare)]) == 0
    assert weights(tmp_path / "run")["label_embs_concat"].shape[0] == 10


def test_several_label_sets(corpus, tmp_path):
    shutil.copytree(corpus.units, tmp_path / "more")
    labels = f"data.labels=[{corpus.units},{tmp_path}/more]"
    assert main(["pretrain", *corpus.settings(labels, "schedule.steps=2", f"out={tmp_path}/run")]) == 0
    assert "masked_loss_set1_layer2" in lines(tmp_path / "run", "train")[0]
    names = weights(tmp_path / "run")
    assert "label_embs_concat" in names and any(name.startswith("extra.") for name in names)


@pytest.mark.parametrize("more", [("objective=hubertopic",), WAVEFORM])
def test_another_device_gives_the_same_run(corpus, tmp_path, other_device, more):
    # Dropout draws in another way there.
    still = [f"model.{name}=0" for name in ("dropout", "attention_dropout", "input_dropout")]
    settings = corpus.settings("schedule.steps=4", *still, *more)
    assert main(["pretrain", *settings, f"out={tmp_path}/here"]) == 0
    with other_device():
        assert main(["pretrain", *settings, f"out={tmp_path}/there"]) == 0
    here, there = (lines(tmp_path / place, "train") for place in ("here", "there"))
    assert len(here) == len(there) == 4 and len(lines(tmp_path / "there", "valid")) == 1
    # Later on, what rounding does has grown.
    for ours, theirs in zip(here[:3], there[:3], strict=True):
        losses = {name: value for name, value in ours.items() if "loss" in name or name == "grad_norm"}
        assert losses
        assert {name: theirs[name] for name in losses} == pytest.approx(losses, rel=1e-3)
