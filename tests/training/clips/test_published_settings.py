"""The settings of UnFuSeD's four steps, where a command is given nothing but its files: as published."""

from __future__ import annotations

import importlib
from enum import Enum
from typing import Any

import pytest

from speechssl.cli.configuration import load_settings

FILES = ["data.train=train.tsv", "data.valid=valid.tsv", "out=run"]
LAPE = ["benchmark=lape", "task=urbansound8k", "corpus_dir=UrbanSound8K", "out_dir=out", "encoders={}"]

FEATURES = {"n_fft": 1024, "hop": 160, "num_mels": 64, "low_hz": 60, "high_hz": 7800}
MIXUP = {"enabled": True, "ratio": 0.4, "memory": 2048}
CROP = {"enabled": True, "canvas_mels": 1.0, "canvas_frames": 1.5, "smallest": 0.6, "largest": 1.5}
ENCODER = {
    "data.seconds": 0.95,
    "model.backbone": "audio_ntt",
    "model.audio_ntt_dim": 2048,
    "model.audio_ntt_dropout": 0.3,
    **{f"model.log_mel.{name}": value for name, value in FEATURES.items()},
    **{f"augment.mixup_exp.{name}": value for name, value in MIXUP.items()},
    **{f"augment.random_resize_crop.{name}": value for name, value in CROP.items()},
}
DECAR = {
    "name": "decar",
    "decar.prototypes": 1024,
    "decar.hidden": 2048,
    "decar.projection": 512,
    "decar.iterations": 10,
    "decar.temperature": 1,
}
PUBLISHED = {
    # Ten epochs of warm-up of 200, of which a user says how many.
    "pretrain_clips": {
        **ENCODER,
        **{f"objective.{name}": value for name, value in DECAR.items()},
        "clips": 512,
        "optim.kind": "sgd",
        "optim.lr": 0.005,
        "optim.momentum": 0.9,
        "optim.weight_decay": 1e-6,
        "optim.trust": 0.001,
        "schedule.kind": "cosine",
        "schedule.warmup": 10 / 200,
    },
    "cluster": {"components": 128, "iterations": 20},
    # Warm-up, decay and the limit of the gradient are this project's choice.
    "distill": {
        **ENCODER,
        "clips": 64,
        "optim.kind": "sgd",
        "optim.lr": 0.03,
        "optim.momentum": 0.9,
        "optim.weight_decay": 1e-4,
        "optim.trust": 0,
        "schedule.epochs": 50,
        "distillation.tap_weight": 0.7,
        "distillation.divergence_weight": 0.3,
        "distillation.cosine_weight": 0.003,
        "distillation.detach_deepest": False,
    },
    # Adam: weight decay is decoupled, and 0.
    "finetune": {
        "clips": 32,
        "optim.kind": "adamw",
        "optim.lr": 1e-3,
        "optim.beta1": 0.9,
        "optim.beta2": 0.999,
        "optim.eps": 1e-8,
        "optim.weight_decay": 0,
        "schedule.kind": "constant",
        "schedule.warmup": 0,
        "schedule.epochs": 100,
    },
    "evaluate": {"lr": [1e-3], "batch_size": 32, "passes": 30},
    "evaluate mode=finetune": {"lr": [1e-3], "batch_size": 32, "passes": 100},
}
GIVEN = {
    "pretrain_clips": [*FILES, "schedule.epochs=200"],
    "cluster": ["manifests=[train.tsv]", "encoder=run", "k=10", "out=clusters"],
    "distill": [*FILES, "clusters=clusters"],
    "finetune": [*FILES, "column=kind", "data.seconds=4"],
    "evaluate": LAPE,
}


def found(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings.value if isinstance(settings, Enum) else settings


@pytest.mark.parametrize("words", PUBLISHED)
def test_defaults_are_as_published(words: str):
    name, *more = words.split()
    command, overrides = importlib.import_module(f"speechssl.cli.{name}").COMMAND.chosen([*GIVEN[name], *more])
    settings = load_settings(command, overrides)
    assert {key: found(settings, key) for key in PUBLISHED[words]} == PUBLISHED[words]
