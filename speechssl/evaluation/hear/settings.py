"""Settings of `speechssl evaluate benchmark=hear`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from speechssl.errors import UserError
from speechssl.limits import named, require, require_list, require_seeds
from speechssl.settings import changed_fields

ALL = "all"
"""As a task: every one of the sixteen that is there."""


@dataclass
class HearSettings:
    """Frozen encoders side by side, in one task of HEAR: a shallow network on each, with hear-eval-kit's numbers."""

    task: str = MISSING
    """One of the sixteen tasks by its name, e.g. `esc50` (a wrong one lists them); `all` of them that are there; or the
    folder of any other task in HEAR's format, e.g. `speech_commands-v0.0.2-full`."""
    corpus_dir: str = MISSING
    """Where HEAR's archives are unpacked (the folder with the tasks' folders, or the one with `hear-2021.0.6`), or the
    task's own folder: the one with `task_metadata.json`."""
    out_dir: str = MISSING
    """Folder of the results: `<task>/results.json` has every number, `results.md` and `results.tex` the tables of all
    tasks whose results are in it."""
    encoders: Any = MISSING
    """Trained encoders: `FOLDER`, `{name: FOLDER}`, or `{name: [FOLDER, FOLDER]}` with one folder a seed: whatever
    `speechssl.load_encoder` takes, `s3prl:NAME` or `hf:FOLDER`. A recording is what the encoder pools; in an event task
    a frame is its last hidden state."""
    baselines: list[str] = field(default_factory=lambda: ["fbank", "random"])
    """What they stand beside: `fbank` (log-mel filterbanks), `random` (new ones of the first one's configuration)."""
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    """Each trains a network of its own: initial weights, dropout and order of the examples."""
    hidden_layers: list[int] = field(default_factory=lambda: [1, 2])
    """Numbers of hidden layers to choose from on validation; 0 is a linear network."""
    lr: list[float] = field(default_factory=lambda: [3.2e-3, 1e-3, 3.2e-4, 1e-4])
    """Learning rates of Adam to choose from on validation."""
    hidden_dim: int = 1024
    """Width of a hidden layer."""
    dropout: float = 0.1
    """Part of a hidden layer that is dropped in training."""
    batch_size: int = 1024
    """Examples (recordings, or frames of an event task) in an update."""
    epochs: int | None = None
    """Passes over the training part at most. Null: what the task's metadata say (MAESTRO: 50), else 500."""
    check_every: int | None = None
    """Epochs between looks at the validation part. Null: what the task's metadata say (MAESTRO: 1), else 3, and 10 for
    events, whose score takes long."""
    patience: int = 20
    """Looks without a better result after which training ends."""
    device: str = "auto"
    """Where encoders and networks run: `cpu`, `cuda`, or `auto`."""
    batch_seconds: float = 60.0
    """Seconds of audio in a batch of the encoder. Changes no result beyond rounding."""
    workers: int = 0
    """Threads that decode; 0 is one a core. Changes no result."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.task):
            raise UserError(f"task={self.task} is no name of a task or its folder; give e.g. task=esc50")
        require(named(self, "hidden_dim", "epochs", "check_every", "patience", "batch_seconds"), above=0)
        # A batch is normalised.
        require({"batch_size": self.batch_size}, least=2)
        require({"workers": self.workers}, least=0)
        require({"dropout": self.dropout}, least=0, below=1)
        require_list("lr", self.lr, above=0)
        require_seeds(self.seeds)
        require_list("hidden_layers", self.hidden_layers, least=0)
        of_layers = [name for name in changed_fields(self) if name in ("hidden_dim", "dropout")]
        if of_layers and not any(self.hidden_layers):
            raise UserError(f"{of_layers[0]} is of a hidden layer, and hidden_layers=[0] has none: leave it out")
