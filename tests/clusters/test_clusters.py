"""Clusters against scikit-learn's own predictions, on blobs, and on files."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from speechssl.clusters import embed as embed_module
from speechssl.clusters.embed import embed
from speechssl.clusters.fit import fit_clustering, silhouettes
from speechssl.clusters.settings import ClusterSettings
from speechssl.clusters.stage import cluster_inputs, run_cluster
from speechssl.data import waveforms
from speechssl.data.manifest import read_manifest, write_manifest
from speechssl.data.recording_labels import ClusterInfo, read_clusters, write_clusters
from speechssl.errors import UserError
from speechssl.files import checksum
from speechssl.models.clip_config import BackboneName, ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.save import save_encoder


def blobs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    points, truth = make_blobs(300, 12, centers=5, cluster_std=0.5, random_state=seed)
    return points.astype(np.float32), truth


def test_labels_are_those_of_whitened_unit_vectors_by_scikit_learn() -> None:
    vectors, truth = blobs()
    clustering = fit_clustering(vectors, 5, components=8, iterations=20, seed=3)
    points = normalize(PCA(8, whiten=True, svd_solver="full").fit_transform(vectors))
    expected = KMeans(5, n_init=10, max_iter=20, random_state=3).fit_predict(points)
    assert adjusted_rand_score(expected, clustering(vectors)) == 1.0
    assert adjusted_rand_score(truth, clustering(vectors)) == 1.0
    # New vectors go by the mean and axes of those it was fitted on.
    assert np.array_equal(clustering(vectors[:7]), clustering(vectors)[:7])


def test_the_same_vectors_give_the_same_clusters_to_the_last_bit_on_many_threads() -> None:
    vectors = np.random.default_rng(0).standard_normal((3000, 24), dtype=np.float32)
    with threadpool_limits(4, user_api="openmp"):
        found = [fit_clustering(vectors, 12, components=16, iterations=20, seed=3).centroids for _ in range(4)]
    assert all(np.array_equal(found[0], other) for other in found)


def test_vectors_are_normalised_after_whitening() -> None:
    """The released code clusters vectors of any length: long and short ones of one direction then come apart."""
    generator = np.random.default_rng(0)
    axes = np.arange(200) % 4
    half = np.eye(4)[axes] + 0.05 * generator.standard_normal((200, 4))
    half *= generator.uniform(1, 10, (200, 1))
    # As many the other way, so that the mean is 0 and directions are the same after whitening.
    vectors, truth = np.concatenate([half, -half]).astype(np.float32), np.concatenate([axes, axes + 4])
    clustering = fit_clustering(vectors, 8, components=4, iterations=20, seed=3)
    assert adjusted_rand_score(truth, clustering(vectors)) > 0.95
    as_released = PCA(4, whiten=True, svd_solver="full").fit_transform(vectors)
    labels = KMeans(8, n_init=10, max_iter=20, random_state=3).fit_predict(as_released)
    assert adjusted_rand_score(truth, labels) < 0.7


def test_directions_without_variance_are_left_out() -> None:
    vectors, _ = blobs()
    flat = np.concatenate([vectors, np.ones((300, 6), np.float32)], axis=1)
    clustering = fit_clustering(flat, 5, components=18, iterations=20, seed=3)
    assert clustering.whitening.shape[0] == 12 and np.isfinite(clustering.whitening).all()


def test_directions_of_little_variance_far_from_the_origin_are_kept() -> None:
    """Standard deviations of 1 and of 1/1000, around 100: a covariance in float32 tells neither of them from none."""
    generator = np.random.default_rng(0)
    vectors = 100 + generator.standard_normal((3000, 3)) * [1, 1e-3, 0]
    clustering = fit_clustering(vectors.astype(np.float32), 2, components=3, iterations=20, seed=3)
    assert clustering.whitening.shape == (2, 3)
    np.testing.assert_allclose(np.abs(clustering.whitening.diagonal()), [1, 1e3], rtol=0.03)


def test_one_vector_for_all_recordings_is_a_collapsed_encoder() -> None:
    with pytest.raises(UserError, match="all recordings have the same vector"):
        fit_clustering(np.full((300, 12), 0.1, np.float32), 5, components=8, iterations=20, seed=3)


def test_fitting_and_labelling_copy_a_block_of_the_vectors_only(monkeypatch) -> None:
    """Of a million recordings the vectors alone take gigabytes."""
    monkeypatch.setattr("speechssl.clusters.fit._BLOCK", 100)
    vectors = np.random.default_rng(0).standard_normal((20_000, 128)).astype(np.float32)
    tracemalloc.start()
    clustering = fit_clustering(vectors, 2, components=2, iterations=2, seed=0)
    labels = clustering(vectors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < vectors.nbytes / 4
    monkeypatch.undo()
    assert np.array_equal(clustering(vectors), labels)


def test_silhouette_finds_the_number_of_blobs() -> None:
    vectors, _ = make_blobs(300, 3, centers=4, cluster_std=0.2, random_state=2)
    scores = silhouettes(vectors.astype(np.float32), [2, 3, 4, 5, 6], components=3, iterations=20, seed=0)
    assert max(scores, key=scores.__getitem__) == 4


def test_a_cluster_of_one_is_in_the_sample_of_the_silhouette(monkeypatch) -> None:
    """One odd recording among many: a sample of few would most often not hold it, and have one cluster only."""
    monkeypatch.setattr("speechssl.clusters.fit._SILHOUETTE_SAMPLE", 10)
    vectors = 1 + 1e-3 * np.random.default_rng(0).standard_normal((200, 4)).astype(np.float32)
    vectors[17] = -50
    for seed in range(5):
        scores = silhouettes(vectors, [2], components=1, iterations=5, seed=seed)
        assert -1 <= scores[2] <= 1


def test_a_recording_that_the_encoder_cannot_take_is_named(tmp_path) -> None:
    generator = np.random.default_rng(0)
    for name, level in (("a", 0.1), ("b", 1e30)):
        wave = level * generator.standard_normal(8000).astype(np.float32)
        soundfile.write(tmp_path / f"{name}.wav", wave, 16_000, subtype="FLOAT")
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a.wav", 8000), ("b.wav", 8000)])
    encoder = ClipEncoder(ClipConfig(audio_ntt_dim=16))
    with pytest.raises(UserError, match=r"b\.wav: the encoder makes NaN or infinity of it .* leave it out of .*train"):
        embed(read_manifest(tmp_path / "train.tsv"), encoder, None, 1.0, torch.device("cpu"))


def test_recordings_are_read_while_the_encoder_works_but_not_all_of_them(tmp_path, monkeypatch) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 8000), 16_000)
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a.wav", 8000)] * 90)
    next_batch, rows, read_stretch = threading.Event(), [], waveforms.read_listed_stretch

    def noted(*arguments):
        rows.append(arguments)
        if len(rows) == 2 * embed_module._BATCH:
            next_batch.set()
        return read_stretch(*arguments)

    monkeypatch.setattr(embed_module, "read_listed_stretch", noted)
    encoder, found = ClipEncoder(ClipConfig(audio_ntt_dim=16)), []
    encoder.register_forward_pre_hook(lambda *_: found.append((next_batch.wait(timeout=20), len(rows))))
    embed(read_manifest(tmp_path / "train.tsv"), encoder, None, 1.0, torch.device("cpu"))
    was_read, read = found[0]
    assert was_read and read <= 3 * embed_module._BATCH
    assert len(rows) == 90


def test_a_replaced_checkpoint_or_an_edited_configuration_is_another_input(tmp_path) -> None:
    checkpoint = tmp_path / "hubert.pt"
    settings = ClusterSettings(manifests=["train.tsv"], encoder=str(checkpoint), out="out")
    assert checkpoint in cluster_inputs(settings)
    save_encoder(tmp_path / "run" / "encoder", ClipEncoder(ClipConfig(backbone=BackboneName.vit, vit_layers=1)))
    found = list(cluster_inputs(ClusterSettings(manifests=["train.tsv"], encoder=str(tmp_path / "run"), out="out")))
    assert {"encoder.json", "encoder.safetensors"} <= {path.name for path in found if path.is_file()}


def test_labels_of_another_manifest_are_refused(tmp_path) -> None:
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a.wav", 100), ("b.wav", 100)])
    manifest = read_manifest(tmp_path / "train.tsv")
    info = ClusterInfo(2, "encoder", "sum", checksum(manifest.file))
    write_clusters(tmp_path / "train.cluster", np.array([1, 0]), info)
    labels, found = read_clusters(tmp_path / "train.cluster", manifest)
    assert labels.tolist() == [1, 0] and (found.k, found.recordings) == (2, 2)
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a.wav", 100), ("c.wav", 100)])
    with pytest.raises(UserError, match="has changed since"):
        read_clusters(tmp_path / "train.cluster", read_manifest(tmp_path / "train.tsv"))
    (tmp_path / "train.cluster").write_text("0\n0\n")
    with pytest.raises(UserError, match="do not belong together"):
        read_clusters(tmp_path / "train.cluster", manifest)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"k": 4}, r"k=4 is more than the 3 recordings of .*train\.tsv"),
        ({"candidates": [2, 3]}, r"candidates=\[2, 3\]: 3 is not less than the 3 recordings of .*train\.tsv"),
        ({"candidates": [5]}, "has 3 recordings, not more than any of candidates; give k="),
        ({"k": 2}, r"metadata\.tsv has no row for c\.wav"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_encoded(tmp_path, monkeypatch, given, message) -> None:
    write_manifest(tmp_path / "train.tsv", tmp_path, [(f"{name}.wav", 100) for name in "abc"])
    rows = ["path\tsplit\tseconds\tkind", "a.wav\ttrain\t1\tx", "b.wav\ttrain\t1\ty"]
    (tmp_path / "metadata.tsv").write_text("\n".join(rows) + "\n")
    monkeypatch.setattr("speechssl.clusters.stage.load_encoder", None)
    with pytest.raises(UserError, match=message):
        run_cluster(ClusterSettings(manifests=[str(tmp_path / "train.tsv")], encoder="e", out="out", **given))


@pytest.mark.parametrize("given", [{"clip_seconds": 0.0}, {"clip_seconds": float("nan")}, {"max_seconds": 1e-6}])
def test_a_clip_has_a_sample(given: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(given))}=.* must be 6.25e-05 or more"):
        ClusterSettings(manifests=["a.tsv"], encoder="e", out="o", k=2, **given)
