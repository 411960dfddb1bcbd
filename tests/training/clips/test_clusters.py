"""Clusters at the command: how many there are by silhouette, and updates without two recordings of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import normalize

from speechssl.audio.decode import read_audio
from speechssl.cli.app import main
from speechssl.data.manifest import read_manifest
from speechssl.data.recording_labels import ClusterInfo, write_clusters
from speechssl.files import checksum
from speechssl.models.clip_config import ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.save import save_encoder
from speechssl.training.clips.pretrain import ViewModel
from tests.training.clips.conftest import SMALL


def test_no_two_clips_of_a_cluster_are_in_an_update(data, sounds, tmp_path, monkeypatch):
    """Clusters of 7, 1, 8, 8 and 12 recordings: an epoch of three updates becomes one of twelve."""
    clusters = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3, 4], [7, 1, 8, 8, 12]))
    info = ClusterInfo(5, "by hand", "one", checksum(sounds / "train.tsv"))
    write_clusters(tmp_path / "clusters" / "train.cluster", clusters, info)
    updates, forward = [], ViewModel.forward

    def noted(model, batch):
        if model.training:
            updates.append(batch.names)
        return forward(model, batch)

    monkeypatch.setattr(ViewModel, "forward", noted)
    run = ["objective=simclr", f"clusters={tmp_path}/clusters", "schedule.epochs=1", "run.checkpoint_every=12"]
    assert main(["pretrain_clips", *data, *SMALL, *run, f"out={tmp_path}/run"]) == 0
    paths = read_manifest(sounds / "train.tsv").paths
    assert len(updates) == 12 and sorted(name for names in updates for name in names) == sorted(paths)
    cluster = dict(zip(paths, clusters.tolist(), strict=True))
    assert all(len({cluster[name] for name in names}) == len(names) for names in updates)


def silhouettes_by_hand(manifest: Path, encoder: ClipEncoder, candidates: tuple[int, ...]) -> dict[int, float]:
    """Each recording alone through the encoder, then scikit-learn's PCA, k-means and silhouette."""
    listed = read_manifest(manifest)
    waveforms = [read_audio(listed.audio_path(row)) for row in range(len(listed))]
    with torch.no_grad():
        vectors = torch.cat([encoder.pool(encoder(wave[None])) for wave in waveforms]).numpy()
    points = normalize(PCA(2, whiten=True, svd_solver="full").fit_transform(vectors))
    fitted = {k: KMeans(k, n_init=10, max_iter=20, random_state=1).fit_predict(points) for k in candidates}
    return {k: silhouette_score(points, labels) for k, labels in fitted.items()}


def test_the_number_of_clusters_is_that_of_the_highest_silhouette(sounds, tmp_path):
    torch.manual_seed(3)
    encoder = ClipEncoder(ClipConfig(audio_ntt_dim=64)).eval()
    save_encoder(tmp_path / "encoder", encoder)
    given = [f"manifests=[{sounds}/train.tsv]", f"encoder={tmp_path}/encoder", "candidates=[2,3,4,5]", "components=2"]
    assert main(["cluster", *given, f"out={tmp_path}/clusters"]) == 0
    quality = json.loads((tmp_path / "clusters" / "quality.json").read_text())
    expected = silhouettes_by_hand(sounds / "train.tsv", encoder, (2, 3, 4, 5))
    assert quality["k"] == max(expected, key=expected.__getitem__) not in (2, 5), expected
    assert {int(k): score for k, score in quality["silhouette"].items()} == pytest.approx(expected, abs=1e-3)
    labels = np.loadtxt(tmp_path / "clusters" / "train.cluster", dtype=int)
    assert set(labels) == set(range(quality["k"])) and len(quality["train"]["sizes"]) == quality["k"]
