from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.data.manifest import write_manifest
from speechssl.models.hubert import hubert_tiny
from speechssl.models.save import save_encoder


def babble(seconds: float, seed: int, rate: int = 16000) -> np.ndarray:
    """Audio with something like vowels: harmonics of a pitch, weighted anew every 50 to 200 ms, and a little noise."""
    rng = np.random.default_rng(seed)
    samples = int(seconds * rate)
    time = np.arange(samples) / rate
    bounds = np.cumsum(rng.integers(rate // 20, rate // 5, size=samples // (rate // 20) + 1))
    segment = np.searchsorted(bounds, np.arange(samples))
    weights = rng.dirichlet(np.full(12, 0.3), size=len(bounds) + 1)[segment]
    harmonics = np.sin(2 * np.pi * time[:, None] * rng.uniform(90, 220) * np.arange(1, 13))
    return (0.5 * (weights * harmonics).sum(1) + 0.003 * rng.normal(size=samples)).astype(np.float32)


def write_corpus(folder: Path, seconds: Sequence[float], split: str = "train", rate: int = 16000) -> Path:
    """Write one recording for each length, and their manifest; return the manifest."""
    entries = []
    for number, length in enumerate(seconds):
        name = f"{split}/{number:03}.wav"
        path = folder / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, babble(length, seed=number, rate=rate), rate)
        entries.append((name, -(-int(length * rate) * 16000 // rate)))
    write_manifest(folder / f"{split}.tsv", folder / "audio", entries)
    return folder / f"{split}.tsv"


SMALL = {"num_layers": 2, "dim": 32, "ffn_dim": 64, "num_heads": 4, "conv_pos": 16, "conv_pos_groups": 4}


@pytest.fixture(scope="session", params=["waveform", "fbank"])
def encoder_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder of two narrow layers: HuBERT's convolutions at 50 Hz, or stacked fbank at 25 Hz."""
    torch.manual_seed(0)
    convolutions = [[16, 10, 5], *[[16, 3, 2]] * 4, *[[16, 2, 2]] * 2]
    folder = tmp_path_factory.mktemp("encoder")
    if request.param == "waveform":
        save_encoder(folder, hubert_tiny(front_end="waveform", conv_layers=convolutions, **SMALL))
    else:
        save_encoder(folder, hubert_tiny(**SMALL))
    return folder
