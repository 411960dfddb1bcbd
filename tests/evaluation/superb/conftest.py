"""A small task on disk: tones with a label, phones, a transcript and a group."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import HubertConfig
from speechssl.models.save import save_encoder

PITCHES = {"a": 300.0, "b": 900.0, "c": 2700.0}
COLUMNS = ("id", "path", "label", "second", "phones", "transcription", "iob", "gender")
SIZES = {"train": 24, "valid": 9, "test": 9}


def write_csv(file: Path, rows: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS) -> None:
    with open(file, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def write_task(folder: Path) -> Path:
    """Each utterance is two tones, one after the other; the first, longer one is its label."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(PITCHES)
    for part, size in SIZES.items():
        rows = []
        for number in range(size):
            first, second = names[number % 3], names[(number // 3) % 3]
            random = np.random.default_rng([number, size])
            times = [np.arange(round(16000 * random.uniform(*span))) / 16000 for span in ((0.4, 0.5), (0.1, 0.2))]
            tones = zip((first, second), times, strict=True)
            wave = np.concatenate([np.sin(2 * np.pi * PITCHES[name] * time) for name, time in tones])
            wave = 0.3 * wave + 0.02 * random.standard_normal(len(wave))
            soundfile.write(folder / f"{part}-{number}.wav", wave, 16000)
            row = (
                f"{part}{number}",
                f"{part}-{number}.wav",
                first,
                second,
                f"{first} {second}",
                f"{first}{second} {first}",
                f"O pitch_{first}",
            )
            rows.append(dict(zip(COLUMNS, (*row, "f" if number % 2 else "m"), strict=True)))
        write_csv(folder / f"{part}.csv", rows)
    return folder


@pytest.fixture(scope="session")
def task_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("superb") / "tones")


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder."""
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    torch.manual_seed(3)
    config = HubertConfig(front_end="fbank", fbank_stack=2, num_layers=2, dim=16, ffn_dim=32, num_heads=2)
    save_encoder(folder, HubertEncoder(config))
    return folder
