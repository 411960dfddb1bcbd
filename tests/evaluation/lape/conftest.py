"""A small data set on disk: tones of three pitches in noise, with folds, speakers and splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.data.corpora import CorpusSettings
from speechssl.data.listing import ManifestSettings, make_manifests
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import HubertConfig
from speechssl.models.save import save_encoder

PITCHES = {"low": 300.0, "middle": 900.0, "high": 2700.0}
EACH = 24
SECONDS = 0.5


def tone(pitch: float, seconds: float, noise: float, seed: int, rate: int = 16000) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return 0.2 * np.sin(2 * np.pi * pitch * time) + noise * np.random.default_rng(seed).standard_normal(len(time))


def write_tones(folder: Path, each: int = EACH, noise: float = 0.1) -> Path:
    """Write recordings of 0.3 to 0.8 s, one folder a class, and `metadata.tsv`: class, speaker, fold and split."""
    rows = [("path", "class", "speaker", "fold", "split")]
    for number, (name, pitch) in enumerate(PITCHES.items()):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            seed = 1000 * number + index
            seconds = np.random.default_rng(seed).uniform(0.3, 0.8)
            path = f"{name}/{index:03d}.wav"
            soundfile.write(folder / path, tone(pitch, seconds, noise, seed), 16000)
            split = ("train", "train", "train", "valid", "test", "test")[index % 6]
            rows.append((path, name, f"s{index % 8}", str(index % 4 + 1), split))
    (folder / "metadata.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    return folder


def write_manifests(audio: Path, out: Path) -> Path:
    make_manifests(ManifestSettings(CorpusSettings(name="folder", audio_dir=str(audio)), str(out), workers=1))
    return out


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set's own folder."""
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="session")
def data_dir(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its manifests."""
    return write_manifests(tones, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    torch.manual_seed(3)
    save_encoder(folder, HubertEncoder(HubertConfig(front_end="fbank", num_layers=1, dim=16, ffn_dim=32, num_heads=2)))
    return folder
