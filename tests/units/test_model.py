from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechssl.errors import UserError
from speechssl.files import checksum
from speechssl.units.model import KMeansInfo, read_kmeans, write_kmeans

INFO = KMeansInfo(
    k=5,
    dim=3,
    frame_rate=100.0,
    features={"kind": "mfcc"},
    encoder_sha256="",
    seed=0,
    fraction=1.0,
    seconds=10.0,
    recordings=2,
    frames=998,
    steps=7,
    inertia=1.5,
    manifest="train.tsv",
    manifest_sha256="0",
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    centroids = torch.randn(5, 3)
    file = write_kmeans(tmp_path, centroids, INFO)
    model = read_kmeans(tmp_path)
    assert torch.equal(model.centroids, centroids)
    assert model.info == replace(INFO, sha256=checksum(file))


def test_files_of_two_fits_and_missing_or_broken_ones_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with pytest.raises(UserError, match="run `speechssl kmeans` first"):
        read_kmeans(first)
    for folder in (first, second):
        write_kmeans(folder, torch.randn(5, 3), INFO)
    (first / "kmeans.safetensors").replace(second / "kmeans.safetensors")
    with pytest.raises(UserError, match="does not describe"):
        read_kmeans(second)
    (second / "kmeans.safetensors").write_bytes(b"junk")
    with pytest.raises(UserError, match="holds no k-means"):
        read_kmeans(second)
    with pytest.raises(UserError, match="run `speechssl kmeans` first"):
        read_kmeans(first)
