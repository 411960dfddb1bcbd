from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from speechssl.data.labels import LabelInfo, write_labels
from speechssl.data.manifest import write_manifest
from speechssl.data.metadata import write_metadata
from speechssl.files import checksum

CLUSTERS = 12


def utterance(random: np.random.Generator, theme: int, frames: int) -> np.ndarray:
    """Units of one of three themes: four units of its own most of the time, any unit else; each lasts one to three."""
    own = 4 * theme + random.integers(0, 4, frames)
    units = np.where(random.random(frames) < 0.8, own, random.integers(0, CLUSTERS, frames))
    return np.repeat(units, random.integers(1, 4, frames))[:frames]


def make_utterances(number: int, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    random = np.random.default_rng(seed)
    themes = random.integers(0, 3, number)
    return [utterance(random, theme, int(random.integers(40, 90))) for theme in themes], [f"t{t}" for t in themes]


@pytest.fixture
def utterances() -> list[np.ndarray]:
    """Units of 60 utterances."""
    return make_utterances(60)[0]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Units, manifests and metadata of 80 + 20 utterances of three themes; the last one of valid is too short."""
    folder = tmp_path / "data"
    rows = []
    for split, number, seed in (("train", 80, 0), ("valid", 20, 1)):
        utterances, themes = make_utterances(number, seed)
        if split == "valid":
            utterances[-1] = np.array([3, 3])
        paths = [f"{split}/{index:03d}.wav" for index in range(number)]
        write_manifest(
            folder / f"{split}.tsv", tmp_path, [(p, 160 * len(u)) for p, u in zip(paths, utterances, strict=True)]
        )
        info = LabelInfo(100.0, CLUSTERS, "mfcc", "kmeans", checksum(folder / f"{split}.tsv"))
        write_labels(tmp_path / "units" / f"{split}.km", utterances, info)
        for index, (path, theme) in enumerate(zip(paths, themes, strict=True)):
            known = theme if index != 0 else ""
            rows.append({"path": path, "split": split, "seconds": "1", "theme": known, "text": path})
    write_metadata(folder / "metadata.tsv", ["theme", "text"], rows)
    return tmp_path


@pytest.fixture
def overrides(corpus: Path) -> Callable[..., list[str]]:
    """Command line of the stage on the corpus; the sizes of the fit are for a model that is fitted."""

    def make(*more: str, out: str = "topics") -> list[str]:
        places = [f"units={corpus}/units", f"data={corpus}/data", f"out={corpus}/{out}"]
        fit = [] if any(word.startswith("topic_model=") for word in more) else ["topics=3", "no_below=2"]
        return ["topics", *places, *fit, *more]

    return make
