import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import pairwise_distances_argmin

from speechssl.audio import read_audio
from speechssl.audio.mfcc import mfcc
from speechssl.cli.app import main
from speechssl.data.alignments import Segment, write_alignments
from speechssl.data.labels import check_labels_fit, read_labels
from speechssl.data.manifest import read_manifest
from speechssl.errors import UserError
from speechssl.files import checksum
from speechssl.models.load import load_encoder
from speechssl.models.save import save_encoder
from speechssl.units import label as label_module
from speechssl.units.features import FeatureSettings
from speechssl.units.fit import KMeansSettings, run_kmeans
from speechssl.units.label import LabelSettings, run_label
from tests.units.conftest import write_corpus

LENGTHS = [0.5, 3.0, 0.1, 1.0, 0.06, 2.0, 0.3]


def fit(folder: Path, manifest: Path, **changes: object) -> Path:
    settings = KMeansSettings(manifest=str(manifest), out=str(folder), k=8, batch_size=200, max_iter=5)
    run_kmeans(dataclasses.replace(settings, **changes))
    return folder


def label(out: Path, kmeans: Path, *manifests: Path, **changes: object) -> dict[str, dict[str, float]]:
    settings = LabelSettings(manifests=list(map(str, manifests)), kmeans=str(kmeans), out=str(out))
    run_label(dataclasses.replace(settings, **changes))
    return json.loads((out / "quality.json").read_text())


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_corpus(tmp_path, LENGTHS)


def test_labels_are_the_nearest_centroids_of_the_mfcc(tmp_path: Path, manifest: Path) -> None:
    valid = write_corpus(tmp_path, [0.4, 0.6], split="valid", rate=8000)
    units = fit(tmp_path / "units", manifest)
    quality = label(units, units, manifest, valid)
    centroids = load_file(units / "kmeans.safetensors")["centroids"].numpy()
    for file in (manifest, valid):
        labels = read_labels(units / f"{file.stem}.km", frame_rate=100.0)
        assert (labels.info.k, labels.info.kmeans_sha256) == (8, checksum(units / "kmeans.safetensors"))
        check_labels_fit(labels, read_manifest(file))
        for index in range(len(labels)):
            frames = mfcc(read_audio(read_manifest(file).audio_path(index))).numpy()
            assert np.array_equal(labels[index], pairwise_distances_argmin(frames, centroids))
    assert quality["train"]["utterances"] == len(LENGTHS)
    assert quality["train"]["frames"] == read_labels(units / "train.km").counts.sum()
    assert "pnmi" not in quality["train"]


def test_description_says_what_was_fitted(tmp_path: Path, manifest: Path) -> None:
    description = json.loads((fit(tmp_path / "units", manifest, fraction=0.5) / "kmeans.json").read_text())
    assert description["k"] == 8
    assert description["frame_rate"] == 100.0
    assert description["fraction"] == 0.5
    assert 0.5 * sum(LENGTHS) <= description["seconds"] < sum(LENGTHS)
    assert description["features"]["kind"] == "mfcc"
    assert description["inertia"] > 0
    small = json.loads((fit(tmp_path / "all", manifest) / "kmeans.json").read_text())
    assert small["fraction"] == 1.0
    assert small["recordings"] == len(LENGTHS)


def test_threads_change_nothing(tmp_path: Path, manifest: Path) -> None:
    one = fit(tmp_path / "one", manifest, threads=1)
    many = fit(tmp_path / "many", manifest, threads=5)
    label(one, one, manifest, threads=1)
    label(many, many, manifest, threads=5)
    for name in ("kmeans.safetensors", "kmeans.json", "train.km", "train.km.json"):
        assert (one / name).read_bytes() == (many / name).read_bytes()


def test_alignments_beside_the_manifest_are_used(tmp_path: Path, manifest: Path) -> None:
    phones = [Segment(0.0, 0.25, "ah"), Segment(0.25, 0.5, "s")]
    write_alignments(tmp_path / "alignments.tsv", {"train/000.wav": phones, "train/003.wav": phones})
    units = fit(tmp_path / "units", manifest)
    quality = label(units, units, manifest)["train"]
    assert quality["phones"] == 2
    assert quality["utterances_without_phones"] == len(LENGTHS) - 2
    assert quality["phone_purity"] >= 0.5
    assert 0 < quality["pnmi"] < 1


def test_encoder_layers_are_clustered_at_their_own_frame_rate(
    tmp_path: Path, manifest: Path, encoder_folder: Path
) -> None:
    encoder = load_encoder(encoder_folder)
    features = FeatureSettings(kind="encoder", encoder=str(encoder_folder), layer=1)
    units = fit(tmp_path / "units", manifest, features=features)
    label(units, units, manifest)
    labels = read_labels(units / "train.km", frame_rate=encoder.frame_rate)
    assert labels.info.source == f"{encoder_folder} layer 1"
    check_labels_fit(labels, read_manifest(manifest))
    with torch.inference_mode():
        frames = encoder(read_audio(read_manifest(manifest).audio_path(1))[None]).hidden_states[1][0].numpy()
    nearest = pairwise_distances_argmin(frames, load_file(units / "kmeans.safetensors")["centroids"].numpy())
    # Batched and alone differ in the last digits, so a frame midway between two centroids may fall either way.
    assert (labels[1] == nearest).mean() > 0.98


def test_another_encoder_than_the_kmeans_was_fitted_on_is_refused(
    tmp_path: Path, manifest: Path, encoder_folder: Path
) -> None:
    features = FeatureSettings(kind="encoder", encoder=str(encoder_folder), layer=1)
    units = fit(tmp_path / "units", manifest, features=features)
    encoder = load_encoder(encoder_folder)
    save_encoder(tmp_path / "moved", encoder)
    label(units, units, manifest, encoder=str(tmp_path / "moved"))
    with torch.no_grad():
        next(encoder.parameters()).add_(0.1)
    save_encoder(tmp_path / "other", encoder)
    with pytest.raises(UserError, match="other weights than the encoder"):
        label(units, units, manifest, encoder=str(tmp_path / "other"))
    encoder_folder.rename(tmp_path / "away")
    with pytest.raises(UserError, match=r"the encoder of .*kmeans\.json is not there: .* or give it as encoder=FOLDER"):
        label(units, units, manifest)
    (tmp_path / "away").rename(encoder_folder)
    mfcc_units = fit(tmp_path / "mfcc", manifest)
    with pytest.raises(UserError, match="fitted on mfcc, not on an encoder"):
        label(mfcc_units, mfcc_units, manifest, encoder=str(encoder_folder))


def test_labels_of_two_kmeans_do_not_stand_side_by_side(tmp_path: Path, manifest: Path) -> None:
    valid = write_corpus(tmp_path, [0.4, 0.6], split="valid")
    units = fit(tmp_path / "units", manifest)
    label(units, units, manifest, valid)
    before = (units / "train.km").read_bytes()
    fit(units, manifest, seed=1)
    with pytest.raises(
        UserError, match=r"train\.km was made by another k-means .* label train\.tsv in the same command"
    ):
        label(units, units, valid)
    assert (units / "train.km").read_bytes() == before
    label(units, units, valid, manifest)
    assert read_labels(units / "train.km").info.kmeans_sha256 == read_labels(units / "valid.km").info.kmeans_sha256


def test_splits_labelled_one_after_the_other_share_a_quality_file(tmp_path: Path, manifest: Path) -> None:
    valid = write_corpus(tmp_path, [0.4, 0.6], split="valid")
    units = fit(tmp_path / "units", manifest)
    together = label(units, units, manifest, valid)
    label(units, units, valid)
    assert label(units, units, manifest) == together


def test_quality_is_counted_while_labels_are_written(
    tmp_path: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = fit(tmp_path / "units", manifest)
    monkeypatch.setattr(label_module, "read_labels", lambda file: pytest.fail(f"{file} is read again"))
    assert label(units, units, manifest)["train"]["utterances"] == len(LENGTHS)


def test_a_split_that_was_labelled_before_a_kill_is_not_labelled_again(
    tmp_path: Path, manifest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = write_corpus(tmp_path, [0.4, 0.6], split="valid")
    (tmp_path / "audio.json").write_text("{}")
    write_alignments(tmp_path / "alignments.tsv", {"train/000.wav": [Segment(0.0, 0.4, "ah")]})
    units = fit(tmp_path / "units", manifest)
    expected = label(tmp_path / "whole", units, manifest, valid)
    lost = tmp_path / "audio" / "valid" / "001.wav"
    lost.rename(tmp_path / "lost.wav")
    with pytest.raises(UserError, match=r"valid/001\.wav"):
        label(units, units, manifest, valid)
    (tmp_path / "lost.wav").rename(lost)
    labelled: list[str] = []
    rows = label_module.labelled_rows
    monkeypatch.setattr(
        label_module, "labelled_rows", lambda of, *rest: labelled.append(of.file.stem) or rows(of, *rest)
    )
    # Quality is that of the labels and alignments that are there, whatever a killed command left.
    (units / "quality.json").unlink()
    capsys.readouterr()
    assert label(units, units, manifest, valid) == expected
    assert labelled == ["valid"]
    assert f"label: train: done before and unchanged: {units / 'train.km'}" in capsys.readouterr().out

    def is_labelled_again() -> bool:
        labelled.clear()
        assert label(units, units, manifest, valid) == expected
        return labelled == ["train", "valid"]

    assert not is_labelled_again() and not labelled
    (tmp_path / "audio.json").write_text('{"sha256": "other"}')
    assert is_labelled_again()
    for split in ("train", "valid"):
        (units / f"{split}.km").write_text((units / f"{split}.km").read_text().replace("1", "2"))
    assert is_labelled_again()
    monkeypatch.setattr(label_module, "__version__", "another")
    assert is_labelled_again()
    (tmp_path / "audio.json").unlink()  # nothing says then whether the recordings are the same
    assert is_labelled_again() and is_labelled_again()
    fit(units, manifest, seed=1)
    labelled.clear()
    label(units, units, manifest, valid)
    assert labelled == ["train", "valid"]


def test_a_device_that_is_not_there_is_refused(tmp_path: Path, manifest: Path) -> None:
    with pytest.raises(UserError, match="device=gpu cannot be used here; give cpu, cuda or auto"):
        fit(tmp_path / "units", manifest, device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="device=cuda cannot be used here"):
            fit(tmp_path / "units", manifest, device="cuda")


def test_a_recording_that_cannot_be_read_stops_with_its_name_and_keeps_old_labels(
    tmp_path: Path, manifest: Path
) -> None:
    units = fit(tmp_path / "units", manifest)
    label(units, units, manifest)
    before = {path.name: path.read_bytes() for path in units.iterdir()}
    (tmp_path / "audio" / "train" / "004.wav").unlink()
    with pytest.raises(UserError, match=r"train/004\.wav, listed in .*cannot be read \(no such file\)"):
        label(units, units, manifest)
    assert {path.name: path.read_bytes() for path in units.iterdir()} == before


def test_recordings_without_a_frame_are_named(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, [1.0, 0.02, 0.5])
    units = fit(tmp_path / "units", manifest)
    with pytest.raises(UserError, match=r"recordings shorter than one frame: 1, the first is train/001\.wav"):
        label(units, units, manifest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 7000, "memory_megabytes": 1}, "k=7000 clusters .* 6721 are fitted: lower k, or raise memory_megabytes"),
        ({"k": 100_000, "fraction": 0.1}, r"k=100000 clusters .* 9998 are fitted: lower k, or raise fraction$"),
        ({"k": 100_000}, r"9998 are fitted: lower k$"),
    ],
)
def test_too_few_frames_are_told_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, float], message: str
) -> None:
    monkeypatch.setattr("speechssl.units.sampling.FrameSample.collect", None)
    manifest = write_corpus(tmp_path, [100.0])
    with pytest.raises(UserError, match=message):
        fit(tmp_path / "units", manifest, **changes)


def test_a_batch_holds_a_piece() -> None:
    encoder = {"kind": "encoder", "encoder": "e", "max_seconds": 20.0}
    KMeansSettings(features=FeatureSettings(**encoder, batch_seconds=22.0))
    with pytest.raises(
        UserError, match=r"features\.batch_seconds=21 is less than a piece of features\.max_seconds=20 "
    ):
        KMeansSettings(features=FeatureSettings(**encoder, batch_seconds=21.0))


def test_no_more_frames_are_fitted_than_the_clusters_need(tmp_path: Path, manifest: Path) -> None:
    fit(tmp_path, manifest, k=4, frames_a_cluster=50)
    assert json.loads((tmp_path / "kmeans.json").read_text())["frames"] == 200


@pytest.mark.parametrize(
    "wrong",
    [{"fraction": 0.0}, {"fraction": 1.5}, {"k": 0}, {"threads": -1}, {"memory_megabytes": 0}, {"frames_a_cluster": 0}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        KMeansSettings(manifest="train.tsv", out="exp", **wrong)  # type: ignore[arg-type]


def test_two_manifests_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match="no two of the same name"):
        LabelSettings(manifests=["a/train.tsv", "b/train.tsv"], kmeans="units", out="units")


STAGES = """
import resource, sys
from pathlib import Path
from tests.units.test_stages import fit, label
manifest, units = Path(sys.argv[1]), Path(sys.argv[2])
fit(units, manifest, memory_megabytes=1)
label(units, units, manifest)
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def run_stages(manifest: Path, units: Path, *launcher: str) -> str:
    """Run both stages in processes of their own; return what they print."""
    script = units.parent / "stages.py"
    script.write_text(STAGES)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, *launcher, str(script), str(manifest), str(units)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_do_what_one_does(tmp_path: Path, manifest: Path) -> None:
    fit(tmp_path / "one", manifest, memory_megabytes=1)
    label(tmp_path / "one", tmp_path / "one", manifest)
    printed = run_stages(manifest, tmp_path / "two", *TORCHRUN)
    assert printed.count("inertia") == 1
    one, two = (load_file(tmp_path / name / "kmeans.safetensors")["centroids"] for name in ("one", "two"))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-3)
    labels = [read_labels(tmp_path / name / "train.km") for name in ("one", "two")]
    pairs = list(zip(*labels, strict=True))
    assert len(pairs) == len(LENGTHS)
    assert np.mean([np.mean(first == second) for first, second in pairs]) > 0.99


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, [6.0] * 10)
    root, *lines = manifest.read_text().splitlines()
    peaks = []
    for repeats in (3, 25):
        long = tmp_path / f"{repeats}.tsv"
        long.write_text("\n".join([root, *lines * repeats]) + "\n")
        peaks.append(int(run_stages(long, tmp_path / f"units{repeats}").split("peak")[1]))
    # The audio of the larger corpus takes 96 MB as samples, its MFCC 23 MB; the fitted frames may take 1 MB.
    assert peaks[1] - peaks[0] < 20


def test_another_device_gives_the_same_units(
    tmp_path: Path, manifest: Path, encoder_folder: Path, other_device: Callable
) -> None:
    features = FeatureSettings(kind="encoder", encoder=str(encoder_folder), layer=1)
    for name, place in (("here", contextlib.nullcontext()), ("there", other_device())):
        with place:
            units = fit(tmp_path / name, manifest, features=features)
            label(units, units, manifest)
    here, there = (read_labels(tmp_path / name / "train.km") for name in ("here", "there"))
    # Rounding may move a frame that is midway between two centroids.
    assert np.mean([(here[index] == there[index]).mean() for index in range(len(LENGTHS))]) > 0.98


def test_recordings_that_nothing_watches_are_looked_at(
    tmp_path: Path, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest made elsewhere has no `audio.json`, and does not change where a recording of the same length does."""
    kmeans = ["kmeans", f"manifest={manifest}", f"out={tmp_path / 'units'}", "k=8", "batch_size=200", "max_iter=5"]
    label = ["label", f"manifests=[{manifest}]", f"kmeans={tmp_path / 'units'}", f"out={tmp_path / 'labels'}"]
    recording = tmp_path / "audio" / "train" / "000.wav"
    for changed in (False, True):
        os.utime(recording, (1, 1 + changed))
        for again in (False, True):
            for command in (kmeans, label):
                assert main(command) == 0
                assert ("done before" in capsys.readouterr().out) is again
