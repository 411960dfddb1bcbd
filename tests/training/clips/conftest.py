"""A corpus of three kinds of generated sounds, and an encoder of clips small enough for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.data.manifest import write_manifest
from speechssl.data.metadata import write_metadata

KINDS = ("low", "high", "noise")

SMALL = (
    "model.audio_ntt_dim=64",
    "model.norm_updates=4",
    "clips=12",
    "data.watch=45",
    "augment.mixup_exp.memory=24",
    "run.precision=fp32",
    "run.log_every=1",
    "run.checkpoint_every=2",
    "run.validate_every=4",
)
"""Settings of a run that takes seconds."""

SMALL_UNMIXED = tuple(setting for setting in SMALL if not setting.startswith("augment.mixup_exp"))
"""The same for a run without `mixup_exp`, which would not read them."""


def make_sound(kind: str, samples: int, generator: np.random.Generator) -> np.ndarray:
    """Return a tone of a kind's pitch, or noise, with random level and phase."""
    time = np.arange(samples) / 16_000
    if kind == "noise":
        wave = generator.standard_normal(samples)
    else:
        pitch = (200.0 if kind == "low" else 3000.0) * generator.uniform(0.9, 1.1)
        wave = np.sin(2 * np.pi * pitch * time + generator.uniform(0, 6)) + 0.05 * generator.standard_normal(samples)
    return 0.2 * generator.uniform(0.5, 1.5) * wave


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as `speechssl manifest` makes it: 36 recordings of three kinds to train on, 45 held out."""
    folder = tmp_path_factory.mktemp("sounds")
    generator = np.random.default_rng(0)
    (folder / "audio").mkdir()
    rows = []
    for split, count in (("train", 36), ("valid", 45)):
        entries = []
        for number in range(count):
            kind = KINDS[number % 3]
            # Some are shorter than a clip.
            samples = int(generator.integers(9_000, 30_000))
            path = f"{split}{number}.wav"
            soundfile.write(folder / "audio" / path, make_sound(kind, samples, generator), 16_000)
            entries.append((path, samples))
            rows.append({"path": path, "split": split, "seconds": f"{samples / 16_000:.3f}", "kind": kind})
        write_manifest(folder / f"{split}.tsv", folder / "audio", entries)
    write_metadata(folder / "metadata.tsv", ["kind"], rows)
    return folder


@pytest.fixture
def data(sounds: Path) -> list[str]:
    """Return the overrides that name the corpus."""
    return [f"data.train={sounds}/train.tsv", f"data.valid={sounds}/valid.tsv"]
