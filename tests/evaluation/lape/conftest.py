"""A small data set on disk: tones of three pitches in noise, with folds, speakers and splits."""

from __future__ import annotations

import csv
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


def write_urbansound8k(root: Path) -> Path:
    """Write the data set's own layout, with one clip of three classes in each fold."""
    (root / "metadata").mkdir(parents=True)
    with open(root / "metadata/UrbanSound8K.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"])
        for fold in range(1, 11):
            (root / f"audio/fold{fold}").mkdir(parents=True)
            for number, (name, pitch) in enumerate(PITCHES.items()):
                file_name = f"{fold}-{number}.wav"
                wave = tone(pitch, 0.2, 0.05, 10 * fold + number, rate=44100)
                soundfile.write(root / f"audio/fold{fold}" / file_name, wave, 44100)
                table.writerow([file_name, 100 * fold + number, 0, 0.2, 1, fold, number, name])
    return root


def write_tut_urban(root: Path) -> Path:
    """Write the data set's own layout, with four clips of each location, and five locations a scene."""
    (root / "audio").mkdir(parents=True)
    (root / "evaluation_setup").mkdir()
    table, lists = ["filename\tscene_label\tidentifier\tsource_label"], {"train": [], "evaluate": []}
    for number, (scene, pitch) in enumerate(PITCHES.items()):
        for location in range(5):
            for segment in range(4):
                path = f"audio/{scene}-paris-{5 * number + location}-{segment}-a.wav"
                soundfile.write(root / path, tone(pitch, 0.2, 0.05, 100 * number + 10 * location + segment), 16000)
                table.append(f"{path}\t{scene}\tparis-{5 * number + location}\ta")
                lists["evaluate" if location == 4 else "train"].append(f"{path}\t{scene}")
    (root / "meta.csv").write_text("\n".join(table) + "\n")
    for name, lines in lists.items():
        (root / f"evaluation_setup/fold1_{name}.txt").write_text("\n".join(lines) + "\n")
    return root


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
