"""What a run trains: the part of a training command that is its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from fairseq2.datasets import DataReader
from fairseq2.device import SupportsDeviceTransfer
from fairseq2.gang import Gangs
from torch import Tensor, nn

from speechssl.errors import UserError
from speechssl.files import checksum
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import encoder_files, load_encoder
from speechssl.settings import differences, plain
from speechssl.training.settings import TrainSettings

Metrics = dict[str, tuple[Tensor, int]]
"""What a model returns beside its loss: name -> (sum, count)."""


class TrainBatch(SupportsDeviceTransfer):
    """What the loop asks of a batch. A model takes one and returns its loss and `Metrics`."""

    names: list[str]
    """Paths in the manifest, to name a batch that went wrong."""
    share: int
    """The trainer averages over the batches of an update; the loss is multiplied by this before."""

    @property
    @abstractmethod
    def update_seconds(self) -> float:
        """Audio of the whole update, over all its batches and processes, padding left out."""


Batch = TypeVar("Batch", bound=TrainBatch, covariant=True)


class RunReader(DataReader[Batch]):
    """A reader of updates whose position in the data is all its state."""

    @abstractmethod
    def close(self) -> None:
        """Stop reading ahead. The threads call into Python, so they must be gone before the interpreter is."""


def initial_weights(init_from: str | None) -> dict[str, str]:
    """Return the files of the encoder that a run starts from, with their checksums, to tell when one has changed.

    A run that goes on no longer needs them: nothing is returned where they are gone.
    """
    files = encoder_files(init_from) if init_from is not None else []
    return {str(file): checksum(file) for file in files if file.is_file()}


def load_encoder_weights(encoder: HubertEncoder | ClipEncoder, source: str) -> None:
    """Give an encoder the weights of another one.

    Args:
        encoder: takes them.
        source: folder of the other, `init_from`.

    Raises:
        UserError: the other one is of another kind, or was made with settings with which its weights mean something
            else, be it in the same shapes.
    """
    found = load_encoder(source)
    if type(found) is not type(encoder):
        raise UserError(
            f"init_from={source} holds a {type(found).__name__}, and this trains a {type(encoder).__name__}"
        )
    for name, theirs, ours in differences(encoder.config, plain(found.config)):
        if encoder.config.decides(name):
            raise UserError(
                f"init_from={source} does not fit model.{name}={ours}: its encoder was made with {theirs}; "
                f"give model.{name}={theirs}, or another encoder"
            )
    encoder.load_state_dict(found.state_dict())


class Trainable(ABC):
    """Data, model and what is left of it."""

    settings: TrainSettings
    """Everything that the command reads."""
    metrics: Sequence[str]
    """Names of the metrics that the model returns in training."""
    valid_metrics: Sequence[str]
    """Names of the metrics that it returns in validation."""

    @abstractmethod
    def log_data(self) -> None:
        """Say what is trained on."""

    @abstractmethod
    def inputs(self) -> dict[str, str]:
        """Return the files that decide what is learned, with their checksums."""

    @abstractmethod
    def check_plans(self, gangs: Gangs) -> None:
        """Raise a `UserError` for what does not fit, before anything is written."""

    @abstractmethod
    def updates_an_epoch(self, gangs: Gangs) -> int:
        """Return the number of updates in which the training data are seen once."""

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Return a freshly initialised model."""

    def check_steps(self, model: nn.Module, steps: int, gangs: Gangs) -> None:  # noqa: B027 - most learn from the first
        """Raise a `UserError` if so many updates leave something that is set without effect."""

    @abstractmethod
    def load_initial_weights(self, model: nn.Module) -> None:
        """Start from the weights of `settings.init_from`."""

    def prepare(self, model: nn.Module, gangs: Gangs, dtype: torch.dtype) -> None:  # noqa: B027 - most need nothing
        """Do what comes before the first update of a run.

        Args:
            model: the model, wrapped for several processes where there are several, on its device.
            gangs: the processes; all of them call this.
            dtype: number format of the forward pass.
        """

    @abstractmethod
    def reader(self, gangs: Gangs, training: bool) -> RunReader[TrainBatch]:
        """Return a reader of this process's batches, of training or of held-out data."""

    @abstractmethod
    def has_unused_parameters(self, model: nn.Module) -> bool:
        """Return whether some parameters never have a gradient (DDP must look for them)."""

    @abstractmethod
    def save(self, folder: Path, state: dict[str, Tensor], step: int) -> None:
        """Write the encoder of update `step`, given all weights of the model, into `folder`.

        It must draw nothing: checkpoints end at their own time while training goes on, and dropout would depend on it.
        """

    def after_validation(  # noqa: B027 - most have nothing to do
        self, folder: Path, model: nn.Module, metrics: dict[str, float]
    ) -> None:
        """Do what is to be done when held-out data were looked at; called in the first process only.

        Args:
            folder: the run folder.
            model: the model, not wrapped.
            metrics: the last line of `metrics/valid.jsonl`, with its `step`.
        """
