"""A corpus of generated recordings with random labels, and a model small enough for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.data.labels import LabelInfo, write_labels
from speechssl.data.manifest import write_manifest
from speechssl.data.recording_labels import TopicInfo, write_topics
from speechssl.files import checksum

TINY = (
    "model.front_end=fbank",
    "model.num_layers=2",
    "model.dim=32",
    "model.ffn_dim=64",
    "model.num_heads=2",
    "model.conv_pos=16",
    "model.conv_pos_groups=4",
    "model.final_dim=16",
    "mask=fast",
    "batch=mini",
    "batch.total_seconds=6",
    "optim=mini",
    "data.min_seconds=0.3",
    "run.precision=fp32",
    "run.log_every=1",
    "run.checkpoint_every=2",
    "run.validate_every=4",
)
"""Settings of a run that takes seconds."""


class Corpus:
    """Manifests, labels and topics under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.units = folder / "units"
        self.topics = folder / "topics"

    def settings(self, *more: str) -> list[str]:
        """Return the overrides of a run; with `objective=hubertopic` its topics are among them."""
        paths = (
            f"data.train={self.data}/train.tsv",
            f"data.valid={self.data}/valid.tsv",
            f"data.labels=[{self.units}]",
        )
        topics = [f"data.topics={self.topics}"] if "objective=hubertopic" in more else []
        return [*paths, *topics, *TINY, *more]


def make_corpus(folder: Path, seed: int = 0, kmeans: dict[str, str] | None = None) -> Corpus:
    """Write 20 recordings of 0.5 to 2.5 s; labels follow the pitch, so that there is something to learn."""
    corpus = Corpus(folder)
    generator = np.random.default_rng(seed)
    (folder / "audio").mkdir(parents=True)
    for split, count in (("train", 16), ("valid", 4)):
        entries, rows = [], []
        for number in range(count):
            samples = int(generator.integers(8_000, 40_000))
            pitch = generator.choice([120.0, 240.0, 480.0])
            wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(samples) / 16_000)
            path = f"{split}{number}.wav"
            soundfile.write(folder / "audio" / path, wave + 0.01 * generator.standard_normal(samples), 16_000)
            entries.append((path, samples))
            rows.append(generator.integers(0, 5, samples // 160 - 2) + int(pitch // 121))
        write_manifest(corpus.data / f"{split}.tsv", folder / "audio", entries)
        manifest = checksum(corpus.data / f"{split}.tsv")
        sha256 = (kmeans or {}).get(split, "one")
        info = LabelInfo(100.0, 10, "generated", kmeans_sha256=sha256, manifest_sha256=manifest)
        units = write_labels(corpus.units / f"{split}.km", rows, info)
        posteriors = generator.dirichlet(np.ones(3), size=count)
        write_topics(
            corpus.topics / f"{split}.topic",
            posteriors.argmax(axis=1),
            posteriors,
            TopicInfo(3, "generated", model_sha256="one", manifest_sha256=manifest, units_sha256=units.sha256),
        )
    return corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The corpus that no test changes."""
    return make_corpus(tmp_path_factory.mktemp("corpus"))
