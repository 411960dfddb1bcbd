"""The steps of UnFuSeD as commands: pretrain on views, cluster, self-distil."""

from __future__ import annotations

import json
import logging
import math
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
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from speechssl import load_encoder
from speechssl.audio.clip import fit_clip
from speechssl.audio.decode import read_audio
from speechssl.cli.app import main
from speechssl.data.manifest import read_manifest
from speechssl.models.clip_config import BackboneName, ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.objectives.barlow_twins import BarlowTwins
from speechssl.objectives.choose import ViewObjectiveName
from speechssl.training.clips.classifier import Classifier
from speechssl.training.clips.dataset import ClipDataset
from speechssl.training.clips.distill import DistillationModel
from speechssl.training.clips.pretrain import ViewModel
from speechssl.training.clips.settings import ClipDataSettings
from speechssl.training.clips.trainable import ClipModel
from speechssl.training.dataset import AudioCache
from tests.training.clips.conftest import KINDS, SMALL, SMALL_UNMIXED

# As many threads as this process has: sums depend on it.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}


def command(name: str, *settings: str) -> list[str]:
    return [sys.executable, "-m", "speechssl", name, *settings]


def metrics(run_folder: Path, split: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run_folder / "metrics" / f"{split}.jsonl").read_text().splitlines()]


def weights(run_folder: Path) -> dict[str, torch.Tensor]:
    return load_file(run_folder / "encoder" / "encoder.safetensors")


def watch_start(monkeypatch: pytest.MonkeyPatch, model: type[ClipModel]) -> dict[str, torch.Tensor]:
    """Return what will hold the encoder's weights as they are before a model's first update."""
    start: dict[str, torch.Tensor] = {}
    forward = model.forward

    def spied(self, batch):
        if not start:
            start.update({key: weight.clone() for key, weight in self.encoder.state_dict().items()})
        return forward(self, batch)

    monkeypatch.setattr(model, "forward", spied)
    return start


def assert_learnt_from_fresh(start: dict[str, torch.Tensor], run: Path, config: ClipConfig) -> None:
    """Check that a run began with the weights that its seed gives, and changed every one."""
    torch.manual_seed(1)
    fresh, end = ClipEncoder(config).state_dict(), weights(run)
    assert start and all(torch.equal(start[name], weight) for name, weight in fresh.items())
    assert all(not torch.equal(end[name], fresh[name]) for name in end if name.endswith("weight"))


def assert_watched(watched: dict[str, float], run: Path, manifest: Path) -> None:
    """Check what is watched of all held-out clips with numpy and scikit-learn, and with the encoder that is left."""
    encoder, held_out = load_encoder(run), read_manifest(manifest)
    clips = [fit_clip(read_audio(held_out.audio_path(row)), 15_200) for row in range(len(held_out))]
    with torch.no_grad():
        vectors = encoder.pool(encoder(torch.stack(clips))).double().numpy()
    singular = np.linalg.svd(vectors, compute_uv=False)
    shares = singular / singular.sum() + 1e-7
    assert watched["rankme"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-3)
    assert watched["feature_variance"] == pytest.approx(normalize(vectors).var(axis=0).sum(), rel=1e-3)
    kinds = np.arange(len(vectors)) % len(KINDS)
    nearest = NearestNeighbors(n_neighbors=10, metric="cosine").fit(vectors).kneighbors(return_distance=False)
    # Where as many vote for each of two, the first by name is taken.
    places = np.argsort(np.argsort(KINDS))[kinds]
    votes = np.array([np.bincount(places[row], minlength=len(KINDS)).argmax() for row in nearest])
    assert watched["knn_accuracy"] == pytest.approx((votes == places).mean())


def test_pretrained_clustered_and_distilled(data, sounds, tmp_path, capsys, monkeypatch):
    """Three kinds of sounds: the clusters find them, and a fresh encoder learns the clusters."""
    pretrained, clusters, out = (tmp_path / name for name in ("pretrained", "clusters", "distilled"))
    views = ["objective=barlow_twins", "objective.barlow_twins.projector=64", "optim=adam_clips", "watch_column=kind"]
    assert main(["pretrain_clips", *data, *SMALL, *views, "schedule.steps=24", f"out={pretrained}"]) == 0
    watched = metrics(pretrained, "valid")[-1]
    assert watched["knn_accuracy"] > 0.6 and watched["rankme"] > 1.5 and watched["feature_variance"] > 0
    assert_watched(watched, pretrained, sounds / "valid.tsv")
    losses = [line["barlow_loss"] for line in metrics(pretrained, "train")]
    assert len(losses) == 24 and losses[-1] < losses[0]

    manifests = f"manifests=[{sounds}/train.tsv,{sounds}/valid.tsv]"
    assert main(["cluster", manifests, f"encoder={pretrained}", "k=3", "components=4", f"out={clusters}"]) == 0
    quality = json.loads((clusters / "quality.json").read_text())
    assert quality["train"]["columns"]["kind"]["nmi"] > 0.9 and sum(quality["train"]["sizes"]) == 36
    assert "NMI with kind" in capsys.readouterr().out

    settings = [f"clusters={clusters}", "schedule.epochs=12", "optim.lr=0.01"]
    start = watch_start(monkeypatch, DistillationModel)
    assert main(["distill", *data, *SMALL, *settings, f"out={out}"]) == 0
    assert len(metrics(out, "train")) == 36, "12 epochs of three updates"
    found = metrics(out, "valid")[-1]
    assert found["pseudo_label_accuracy"] > 0.9
    encoder = load_encoder(out)
    waveforms = torch.randn(2, 16_000)
    assert encoder.pool(encoder(waveforms)).shape == (2, 64)
    assert_learnt_from_fresh(start, out, ClipConfig(audio_ntt_dim=64, norm_updates=4))


@pytest.mark.parametrize("crops", ["same", "different"])
def test_more_views_than_two(data, tmp_path, monkeypatch, crops):
    """Without augmentation, views of one clip are alike, and views of different places are not."""
    seen = []
    forward = BarlowTwins.forward

    def watch(self, backbone, batch):
        seen.append(batch.views)
        return forward(self, backbone, batch)

    monkeypatch.setattr(BarlowTwins, "forward", watch)
    off = [f"augment.{kind}.enabled=false" for kind in ("mixup_exp", "random_resize_crop")]
    settings = ["objective=barlow_twins", f"crops={crops}", "views=3", "schedule.steps=1", "data.seconds=0.5", *off]
    assert main(["pretrain_clips", *data, *SMALL_UNMIXED, *settings, f"out={tmp_path}"]) == 0
    first, second, third = seen[0]
    alike = [torch.equal(one, other) for one, other in ((first, second), (first, third), (second, third))]
    assert alike == [crops == "same"] * 3


@pytest.mark.parametrize("objective", ["decar", "moco"])
def test_killed_and_resumed_is_as_never_killed(data, tmp_path, caplog, objective):
    """Memory banks, queues and the memory of the augmentation are part of a checkpoint."""
    small = {
        "decar": ["objective.decar.prototypes=4", "objective.decar.hidden=32", "objective.decar.projection=16"],
        "moco": ["objective.moco.queue=24", "objective.moco.hidden=32", "objective.moco.projection=16"],
    }
    settings = [*data, *SMALL, f"objective={objective}", *small[objective], "crops=different", "schedule.steps=12"]
    assert main(["pretrain_clips", *settings, f"out={tmp_path}/whole"]) == 0
    arguments = command("pretrain_clips", *settings, f"out={tmp_path}/killed")
    process = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").glob("checkpoints/step_[0-9]")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "checkpoints" / "step_12").exists(), "the run ended before it was killed"
    caplog.set_level(logging.INFO)
    assert main(["pretrain_clips", *settings, f"out={tmp_path}/killed"]) == 0
    assert "going on from update" in caplog.text
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    for name, weight in expected.items():
        assert torch.equal(weight, found[name]), name


def test_bad_input_is_one_line(data, tmp_path, capsys):
    def fails(name: str, *settings: str) -> str:
        assert main([name, *data, *SMALL, "schedule.steps=2", f"out={tmp_path}/run", *settings]) == 1
        error = capsys.readouterr().err.strip()
        assert "\n" not in error
        return error

    assert "did you mean 'barlow_twins'" in fails("pretrain_clips", "objective=barlow_twin")
    assert "views=1: objectives compare 2 views" in fails("pretrain_clips", "views=1")
    assert "has no column 'kinds'" in fails("pretrain_clips", "watch_column=kinds")
    assert "does not exist" in fails("distill", f"clusters={tmp_path}/none", "schedule.epochs=null")
    assert "schedule.steps=2 and schedule.epochs=50 contradict" in fails("distill", f"clusters={tmp_path}/none")
    assert "cola compares two places" in fails("pretrain_clips", "objective=cola")
    assert "run.parallel=ddp" in fails("pretrain_clips", "run.parallel=fsdp")
    assert "optim.trust=0.001 is for optim.kind=sgd" in fails("pretrain_clips", "optim.kind=adamw")
    unread = "model.vit_dim is set, but the backbone is audio_ntt, which does not read it"
    assert unread in fails("pretrain_clips", "model.vit_dim=65")
    assert "seconds=-1" in fails("pretrain_clips", "data.seconds=-1")
    assert "data.seconds=1e-05 is less than a sample" in fails("pretrain_clips", "data.seconds=0.00001")
    for kind, wrong in (("sgd", "momentum=-1"), ("sgd", "trust=-0.1"), ("adamw", "beta1=1.5"), ("adamw", "eps=-1")):
        name, _, value = wrong.partition("=")
        assert f"optim.{name}={float(value)} must be" in fails("pretrain_clips", f"optim.kind={kind}", f"optim.{wrong}")
    assert "optim.weight_decay=-1.0 must be" in fails("pretrain_clips", "optim.weight_decay=-1")
    assert "optim.clip=nan must be" in fails("pretrain_clips", "optim.clip=nan")


def test_a_start_of_another_front_end_is_refused_though_its_weights_fit(data, tmp_path, capsys):
    settings = [*data, *SMALL, "objective=simclr", "optim=adam_clips", "schedule.steps=1"]
    assert main(["pretrain_clips", *settings, f"out={tmp_path}/one"]) == 0
    given = [*settings, f"init_from={tmp_path}/one", f"out={tmp_path}/two"]
    assert main(["pretrain_clips", *given, "model.log_mel.hop=320"]) == 1
    assert "does not fit model.log_mel.hop=320: its encoder was made with 160" in capsys.readouterr().err
    assert main(["pretrain_clips", *given, "model.audio_ntt_dropout=0"]) == 0


def test_a_held_out_clip_that_is_too_loud_for_floats_is_named_and_left_out(data, sounds, tmp_path, caplog):
    folder = shutil.copytree(sounds, tmp_path / "sounds")
    loud = folder / "audio/valid7.wav"
    samples, rate = soundfile.read(loud, dtype="float32")
    soundfile.write(loud, samples * 1e30, rate, subtype="FLOAT")
    valid = folder / "valid.tsv"
    valid.write_text(valid.read_text().replace(str(sounds), str(folder)))
    settings = [*data, *SMALL, f"data.valid={valid}", "objective=simclr", "watch_column=kind", "schedule.steps=1"]
    assert main(["pretrain_clips", *settings, f"out={tmp_path}/run"]) == 0
    assert "not finite are left out: valid7.wav" in caplog.text
    [watched] = metrics(tmp_path / "run", "valid")
    assert all(map(math.isfinite, watched.values()))


def test_finetuned_from_an_encoder_and_from_scratch(data, sounds, tmp_path, capsys):
    """The best validation stays, with its classifier; a column that is not there is named."""
    small = [setting for setting in SMALL if not setting.startswith(("augment", "data.watch"))]
    settings = [*data, *small, "column=kind", "schedule.epochs=6", "optim.lr=0.003", "run.validate_every=3"]
    assert main(["finetune", *settings, f"out={tmp_path}/scratch"]) == 0
    best = json.loads((tmp_path / "scratch" / "best" / "best.json").read_text())
    accuracies = {line["step"]: line["accuracy"] for line in metrics(tmp_path / "scratch", "valid")}
    assert best["classes"] == ["high", "low", "noise"]
    assert best["accuracy"] == max(accuracies.values()) > 0.8
    assert best["step"] == min(step for step, accuracy in accuracies.items() if accuracy == best["accuracy"])
    model = Classifier(load_encoder(tmp_path / "scratch" / "best"), 3).eval()
    model.classifier.load_state_dict(load_file(tmp_path / "scratch" / "best" / "classifier.safetensors"))
    valid = ClipDataset(data[1].partition("=")[2], ClipDataSettings(), 0, AudioCache(0.0))
    with torch.no_grad():
        found = model.logits(torch.stack([valid.middle(row) for row in range(45)])).argmax(dim=1)
    truth = torch.tensor([best["classes"].index(KINDS[row % 3]) for row in range(45)])
    assert float((found == truth).float().mean()) == pytest.approx(best["accuracy"])
    given = [setting for setting in settings if not setting.startswith("model")]
    again = [*given, f"init_from={tmp_path}/scratch/best", f"out={tmp_path}/again"]
    assert main(["finetune", *again]) == 0
    assert metrics(tmp_path / "again", "valid")[0]["accuracy"] > 0.8, "it starts where the other was best"
    capsys.readouterr()
    assert main(["finetune", *settings, "column=colour", f"out={tmp_path}/none"]) == 1
    assert "metadata.tsv has no column 'colour' of classes (known: kind)" in capsys.readouterr().err
    bare = shutil.copytree(sounds, tmp_path / "bare", ignore=shutil.ignore_patterns("metadata.tsv"))
    bare_data = [f"data.train={bare}/train.tsv", f"data.valid={bare}/valid.tsv"]
    assert main(["finetune", *settings, *bare_data, f"out={tmp_path}/none"]) == 1
    assert f"{bare}/metadata.tsv" in (error := capsys.readouterr().err) and "speechssl manifest" in error


def test_two_processes_are_one_with_twice_the_batch(data, sounds, tmp_path):
    """What is drawn belongs to a process, so nothing is drawn here. Both share the statistics of batch norm."""
    manifests = f"manifests=[{sounds}/train.tsv,{sounds}/valid.tsv]"
    first = [
        "objective=barlow_twins",
        "objective.barlow_twins.projector=64",
        "schedule.steps=2",
        f"out={tmp_path}/first",
    ]
    assert main(["pretrain_clips", *data, *SMALL, *first]) == 0
    clusters = [f"encoder={tmp_path}/first", "k=3", "components=4", f"out={tmp_path}/clusters"]
    assert main(["cluster", manifests, *clusters]) == 0
    off = ["model.audio_ntt_dropout=0", "augment.mixup_exp.enabled=false", "augment.random_resize_crop.enabled=false"]
    settings = [*data, *SMALL_UNMIXED, *off, f"clusters={tmp_path}/clusters", "schedule.epochs=2", "optim.lr=0.001"]
    assert main(["distill", *settings, f"out={tmp_path}/alone"]) == 0
    run = command("distill", *settings, f"out={tmp_path}/both")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    both = subprocess.run([run[0], *launcher, *run[1:]], env=ENVIRONMENT, capture_output=True, text=True)
    assert both.returncode == 0, both.stderr
    for split in ("train", "valid"):
        for expected, found in zip(metrics(tmp_path / "alone", split), metrics(tmp_path / "both", split), strict=True):
            for name in ("distillation_loss", "pseudo_label_accuracy"):
                assert found[name] == pytest.approx(expected[name], rel=1e-3), (split, name)
    found = weights(tmp_path / "both")
    for name, weight in weights(tmp_path / "alone").items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=2e-4, msg=lambda text, n=name: f"{n}: {text}")


def test_decar_hears_all_clips_before_its_first_update_which_learns(data, tmp_path, monkeypatch):
    calls = []
    forward = ViewModel.forward

    def spied(model, batch):
        loss, measured = forward(model, batch)
        if model.training:
            calls.append((torch.is_grad_enabled(), batch.epoch, batch.seed, batch.clips.tolist(), float(loss.detach())))
        return loss, measured

    monkeypatch.setattr(ViewModel, "forward", spied)
    small = ["objective=decar", "objective.decar.prototypes=4", "optim=adam_clips", "schedule.steps=1"]
    assert main(["pretrain_clips", *data, *SMALL, *small, f"out={tmp_path}"]) == 0
    *heard, (learning, epoch, seed, _, loss) = calls
    clips = len(read_manifest(next(word for word in data if word.startswith("data.train=")).partition("=")[2]))
    assert sorted(clip for call in heard for clip in call[3]) == list(range(clips))
    assert all(call[:2] == (False, -1) and call[2] != seed for call in heard)
    assert (learning, epoch) == (True, 0) and loss > 0


@pytest.mark.parametrize("name", [name.value for name in ViewObjectiveName])
def test_every_objective_trains_and_moves_the_encoder(data, tmp_path, monkeypatch, name):
    start = watch_start(monkeypatch, ViewModel)
    settings = [*data, *SMALL, f"objective={name}", "optim=adam_clips", "schedule.steps=4", f"out={tmp_path}"]
    extra = {"decar": ["objective.decar.prototypes=4"], "cola": ["crops=different"]}
    assert main(["pretrain_clips", *settings, *extra.get(name, [])]) == 0
    lines = metrics(tmp_path, "train")
    assert len(lines) == 4 and all(math.isfinite(value) for line in lines for value in line.values())
    moved = weights(tmp_path)
    learnt = [key for key, weight in start.items() if "weight" in key and weight.dim() > 1]
    assert learnt and all(not torch.equal(moved[key], start[key]) for key in learnt)


def test_settings_of_another_objective_are_refused(data, tmp_path, capsys):
    settings = [*data, *SMALL, "objective=moco", "objective.decar.prototypes=4", "schedule.steps=2"]
    assert main(["pretrain_clips", *settings, f"out={tmp_path}"]) == 1
    assert "objective.decar is set, but the objective is moco" in capsys.readouterr().err


def damaged(sounds: Path, folder: Path, level: float) -> list[str]:
    """Return the overrides of a copy of the corpus, one recording of which has another level (NaN, say)."""
    shutil.copytree(sounds, folder)
    path = folder / "audio" / "train3.wav"
    wave, rate = soundfile.read(path, dtype="float32")
    wave[100:] *= level
    soundfile.write(path, wave, rate, subtype="FLOAT")
    for split in ("train", "valid"):
        lines = (sounds / f"{split}.tsv").read_text().splitlines(keepends=True)
        (folder / f"{split}.tsv").write_text("".join([f"{folder / 'audio'}\n", *lines[1:]]))
    return [f"data.train={folder}/train.tsv", f"data.valid={folder}/valid.tsv"]


@pytest.mark.parametrize("name", ["pretrain_clips", "finetune", "cluster"])
def test_a_recording_with_nan_is_named(sounds, data, tmp_path, capsys, name):
    """`speechssl manifest` leaves it out; manifests by others need not."""
    corpus = damaged(sounds, tmp_path / "corpus", math.nan)
    small = [setting for setting in SMALL if not setting.startswith(("augment", "data.watch"))]
    settings = {
        "pretrain_clips": [*corpus, *SMALL, "objective=barlow_twins", "schedule.steps=6"],
        "finetune": [*corpus, *small, "column=kind", "schedule.epochs=2"],
        "cluster": [f"manifests=[{corpus[0].partition('=')[2]}]", "k=3", f"encoder={tmp_path}/fresh"],
    }
    if name == "cluster":
        assert main(["pretrain_clips", *data, *settings["pretrain_clips"][2:], f"out={tmp_path}/fresh"]) == 0
        capsys.readouterr()
    assert main([name, *settings[name], f"out={tmp_path}/run"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "train3.wav, listed in " in error
    assert "train.tsv, cannot be read (not finite: holds NaN or infinity)" in error


def test_a_skipped_update_leaves_no_trace_in_batch_norm(sounds, tmp_path, caplog):
    """So loud that its spectrogram is infinite: the update is skipped, but batch norm has seen it by then."""
    corpus = damaged(sounds, tmp_path / "corpus", 1e30)
    small = [setting for setting in SMALL if not setting.startswith(("augment", "data.watch"))]
    settings = [*corpus, *small, "column=kind", "schedule.epochs=2", f"out={tmp_path}/run"]
    assert main(["finetune", *settings]) == 0
    assert any("skipped update" in record.getMessage() for record in caplog.records)
    found = weights(tmp_path / "run")
    assert any("running_var" in name for name in found)
    assert all(weight.isfinite().all() for weight in found.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["objective=moco", "objective.moco.hard_negatives.mixed=4"], "hard_negatives.start_epoch=10, but the run has"),
        (["objective=simclr", "objective.simclr.hard_negatives.mixed=4"], "hard_negatives.start_epoch=10"),
        (["objective=slicer", "objective.slicer.hard_negatives.mixed=4"], "hard_negatives.start_epoch=10"),
    ],
)
def test_a_run_that_is_over_before_something_begins_is_refused(data, tmp_path, capsys, settings, message):
    assert main(["pretrain_clips", *data, *SMALL, *settings, "schedule.epochs=1", f"out={tmp_path}/run"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error and "1 epochs" in error


def test_learning_rates_of_a_run_warm_up(data, tmp_path):
    """The released code's warm-up never reached its optimiser."""
    settings = [*data, *SMALL, "objective=barlow_twins", "objective.barlow_twins.projector=64", "schedule.kind=linear"]
    run = [*settings, "schedule.steps=10", "schedule.warmup=0.4", "optim=adam_clips", "optim.lr=0.004"]
    assert main(["pretrain_clips", *run, f"out={tmp_path}/run"]) == 0
    rates = [line["lr"] for line in metrics(tmp_path / "run", "train")]
    assert rates[:5] == pytest.approx([0.001, 0.002, 0.003, 0.004, 0.004 * 6 / 7])


@pytest.mark.parametrize("backbone", ["vit", "efficientnet_b0"])
def test_the_steps_are_not_tied_to_one_backbone(data, sounds, tmp_path, monkeypatch, backbone):
    """Pretrained, clustered, distilled and scored."""
    small = [setting for setting in SMALL if "audio_ntt" not in setting]
    small += [f"model={backbone}", *(["model.vit_layers=2", "model.vit_dim=48"] if backbone == "vit" else [])]
    pretrain = ["objective=simclr", "optim=adam_clips", "schedule.steps=3", f"out={tmp_path}/pretrained"]
    assert main(["pretrain_clips", *data, *small, *pretrain]) == 0
    manifests = f"manifests=[{sounds}/train.tsv,{sounds}/valid.tsv]"
    clusters = [f"encoder={tmp_path}/pretrained", "k=3", "components=4", f"out={tmp_path}/clusters"]
    assert main(["cluster", manifests, *clusters]) == 0
    distill = [f"clusters={tmp_path}/clusters", "schedule.epochs=1", "optim.lr=0.001", f"out={tmp_path}/distilled"]
    start = watch_start(monkeypatch, DistillationModel)
    assert main(["distill", *data, *small, *distill]) == 0
    config = ClipConfig(backbone=BackboneName(backbone), norm_updates=4)
    if backbone == "vit":
        config.vit_layers, config.vit_dim = 2, 48
    assert_learnt_from_fresh(start, tmp_path / "distilled", config)
    lape = ["benchmark=lape", "task.name=sounds", "task.column=kind", "task.clip_seconds=0.95", f"data_dir={sounds}"]
    encoders = [f"encoders={{distilled: {tmp_path}/distilled}}", "baselines=[random]", "seeds=[1]", "lr=[1e-2]"]
    assert main(["evaluate", *lape, *encoders, f"out_dir={tmp_path}/lape"]) == 0
    summary = json.loads((tmp_path / "lape/sounds/results.json").read_text())["summary"]
    # Three updates spoil EfficientNet: its batch norms follow slowly. Of the fresh one the head can learn.
    assert summary["random"]["1"]["accuracy"]["mean"] > 0.6 and "distilled" in summary


@pytest.mark.parametrize("name", [name.value for name in ViewObjectiveName])
def test_every_objective_trains_on_another_device(data, tmp_path, other_device, name):
    settings = [*data, *SMALL, f"objective={name}", "optim=adam_clips", "schedule.steps=4", f"out={tmp_path}"]
    extra = {"decar": ["objective.decar.prototypes=4"], "cola": ["crops=different"]}
    with other_device():
        assert main(["pretrain_clips", *settings, *extra.get(name, []), "watch_column=kind"]) == 0
    assert all(math.isfinite(value) for line in metrics(tmp_path, "train") for value in line.values())


@pytest.mark.parametrize("backbone", ["audio_ntt", "vit"])
def test_another_device_gives_the_same_clusters_and_losses(data, sounds, tmp_path, other_device, backbone):
    manifests = f"manifests=[{sounds}/train.tsv,{sounds}/valid.tsv]"
    small = [setting for setting in SMALL if backbone == "audio_ntt" or "audio_ntt" not in setting]
    # Dropout draws in another way there.
    model = [*small, f"model={backbone}", f"model.{backbone}_dropout=0"]
    steps_only = ["schedule.epochs=null", "schedule.steps=4"]

    def steps(out: Path) -> None:
        # Of one clustering: the same clusters may have other numbers there.
        first, clusters = f"out={out}/first", f"clusters={tmp_path}/here/clusters"
        assert main(["pretrain_clips", *data, *model, "objective=barlow_twins", "schedule.steps=2", first]) == 0
        assert main(["cluster", manifests, f"encoder={out}/first", "k=3", "components=4", f"out={out}/clusters"]) == 0
        assert main(["distill", *data, *model, clusters, *steps_only, f"out={out}/distilled"]) == 0

    steps(tmp_path / "here")
    with other_device():
        steps(tmp_path / "there")
    for run, loss in (("first", "barlow_loss"), ("distilled", "distillation_loss")):
        here, there = ([line[loss] for line in metrics(tmp_path / place / run, "train")] for place in ("here", "there"))
        # Later on, what rounding does has grown.
        assert there[:2] == pytest.approx(here[:2], rel=0.01)
