"""Small tasks in HEAR's format: tones in folds, chords of several pitches, and beeps in time."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import HubertConfig
from speechssl.models.save import save_encoder

PITCHES = {"low": 300.0, "middle": 900.0, "high": 2700.0}
BEEPS = {"60": 500.0, "84": 2000.0}
FOLDS = ("fold00", "fold01", "fold02")
EACH = 4
"""Tones of each pitch in a fold."""


def tone(pitches: list[float], seconds: float, seed: int, rate: int = 16000) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    noise = 0.02 * np.random.default_rng(seed).standard_normal(len(time))
    return noise + sum(0.2 * np.sin(2 * np.pi * pitch * time) for pitch in pitches)


def write_task(
    folder: Path,
    metadata: dict[str, Any],
    labels: list[str],
    splits: dict[str, dict[str, Any]],
    audio: dict[tuple[str, str], np.ndarray],
    rate: int = 16000,
) -> Path:
    """Write a task as hear-preprocess does: one JSON file a split, audio below its sample rate."""
    folder.mkdir(parents=True)
    (folder / "task_metadata.json").write_text(json.dumps(metadata))
    lines = ["idx,label", *(f"{index},{label}" for index, label in enumerate(labels))]
    (folder / "labelvocabulary.csv").write_text("\n".join(lines) + "\n")
    for split, entries in splits.items():
        (folder / f"{split}.json").write_text(json.dumps(entries))
        (folder / str(rate) / split).mkdir(parents=True)
        for name in entries:
            soundfile.write(folder / str(rate) / split / name, audio[split, name], rate)
    return folder


def write_tones(folder: Path, rate: int = 16000) -> Path:
    """A scene task of one class each, in three folds."""
    splits: dict[str, dict[str, Any]] = {fold: {} for fold in FOLDS}
    audio = {}
    for fold, (number, name) in itertools.product(FOLDS, enumerate(PITCHES)):
        for index in range(EACH):
            file = f"{name}-{index}.wav"
            splits[fold][file] = [name]
            seed = 100 * FOLDS.index(fold) + 10 * number + index
            audio[fold, file] = tone([PITCHES[name]], 0.3 + 0.02 * index, seed, rate)
    metadata = {
        "task_name": "tones",
        "embedding_type": "scene",
        "prediction_type": "multiclass",
        "split_mode": "new_split_kfold",
        "splits": list(FOLDS),
        "evaluation": ["top1_acc", "mAP", "d_prime", "aucroc"],
    }
    return write_task(folder, metadata, sorted(PITCHES), splits, audio, rate)


def write_chords(folder: Path) -> Path:
    """A scene task of any number of classes each, with parts of its own."""
    names = sorted(PITCHES)
    subsets = [list(s) for size in range(4) for s in itertools.combinations(names, size)]
    splits: dict[str, dict[str, Any]] = {}
    audio = {}
    for number, (split, repeats) in enumerate((("train", 3), ("valid", 1), ("test", 1))):
        splits[split] = {f"{index}.wav": subset for index, subset in enumerate(subsets * repeats)}
        for index, (file, subset) in enumerate(splits[split].items()):
            audio[split, file] = tone([PITCHES[name] for name in subset], 0.3, 100 * number + index)
    metadata = {
        "task_name": "chords",
        "embedding_type": "scene",
        "prediction_type": "multilabel",
        "split_mode": "trainvaltest",
        "splits": ["test", "train", "valid"],
        "evaluation": ["mAP", "top1_acc"],
    }
    return write_task(folder, metadata, names, splits, audio)


def write_beeps(folder: Path) -> Path:
    """An event task: four beeps of 0.4 s in 4 s, in turn of one pitch and the other."""
    splits: dict[str, dict[str, Any]] = {}
    audio = {}
    for number, (split, count) in enumerate((("train", 4), ("valid", 2), ("test", 2))):
        splits[split] = {}
        for index in range(count):
            random = np.random.default_rng(10 * number + index)
            wave, events = tone([], 4.0, 10 * number + index), []
            for beep in range(4):
                label = list(BEEPS)[(beep + index) % 2]
                start = round(beep + random.uniform(0.1, 0.5), 3)
                first = round(start * 16000)
                wave[first : first + 6400] += tone([BEEPS[label]], 0.4, 0)
                events.append({"label": int(label), "start": 1000 * start, "end": 1000 * start + 400})
            splits[split][f"{index}.wav"] = events
            audio[split, f"{index}.wav"] = wave
    metadata = {
        "task_name": "beeps",
        "embedding_type": "event",
        "prediction_type": "multilabel",
        "split_mode": "trainvaltest",
        "splits": ["test", "train", "valid"],
        "evaluation": ["event_onset_200ms_fms", "segment_1s_er"],
    }
    return write_task(folder, metadata, list(BEEPS), splits, audio)


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all three."""
    root = tmp_path_factory.mktemp("hear")
    write_tones(root / "tones-v1-full")
    write_chords(root / "chords-v1-full")
    write_beeps(root / "beeps-v1-full")
    return root


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    torch.manual_seed(3)
    config = HubertConfig(front_end="fbank", fbank_stack=2, num_layers=1, dim=16, ffn_dim=32, num_heads=2)
    save_encoder(folder, HubertEncoder(config))
    return folder
