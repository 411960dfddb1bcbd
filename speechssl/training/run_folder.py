"""The run folder: its settings, and the check that a run goes on with the ones it began with."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

import torch
import yaml

from speechssl import __version__
from speechssl.errors import UserError
from speechssl.files import read_json, write_json, write_text
from speechssl.locks import alone
from speechssl.settings import differences, plain
from speechssl.training.checkpoints import checkpoint_folder, damaged
from speechssl.training.settings import Parallel, Precision, TrainSettings

log = logging.getLogger(__name__)


class RunFolder:
    """`exp/<name>/`: `config.yaml`, `run.json`, `checkpoints/`, `metrics/`, `encoder/`."""

    def __init__(self, settings: TrainSettings) -> None:
        self.path = Path(settings.out)
        self._settings = settings

    def check_same_settings(self) -> None:
        """Compare with the settings that the run began with.

        Raises:
            UserError: names the first setting that differs, with both values.
        """
        file = self.path / "config.yaml"
        if not file.is_file():
            return
        may_change = self._settings.may_change()
        for name, before, now in differences(self._settings, _read_settings(file)):
            if name not in may_change:
                raise UserError(
                    f"{self.path} holds a run with {name}={before}, not {now}: "
                    "use the same settings, another out=, or delete the folder"
                )

    def open_log(self) -> None:
        """Send fairseq2's own messages to `log/fairseq2-rank<R>.log` instead of the terminal."""
        file = self.path / "log" / f"fairseq2-rank{os.environ.get('RANK', '0')}.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger = logging.getLogger("fairseq2")
        for before in logger.handlers:
            before.close()
        logger.handlers = [handler]
        logger.propagate = False
        logging.getLogger().addFilter(_is_no_false_alarm)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keep other runs out of the folder.

        Where a launcher was killed, its processes may still be training.

        Raises:
            UserError: in the block, another run holds the folder.
        """
        told = f"another process is training in {self.path}: wait for it, or end it"
        return alone(self.path / "log" / "lock", told)

    def check_same_inputs(self, inputs: dict[str, str]) -> None:
        """Compare manifests and labels, given as path -> checksum, with those that the run began with.

        Raises:
            UserError: names the first one that has changed.
        """
        before = self._begun().get("inputs", {})
        for path, sha256 in inputs.items():
            if before.get(path, sha256) != sha256:
                raise UserError(
                    f"{path} has changed since the run in {self.path} began: use another out=, or delete the folder"
                )

    def check_same_processes(self, step: int, processes: int) -> None:
        """Raise a `UserError` unless the checkpoint of update `step` can be read by this number of processes.

        Each process wrote its own random numbers, and with FSDP its own shard of the weights.
        """
        checkpoint = checkpoint_folder(self.path, step)
        wrote = len(list((checkpoint / "trainer").glob("rank_*.pt")))
        if wrote == 0:
            raise damaged(checkpoint)
        if processes > wrote or (self._settings.run.parallel is Parallel.fsdp and processes < wrote):
            raise UserError(
                f"the checkpoint of update {step} in {self.path} was written by {wrote} processes, so {processes} "
                f"cannot go on from it: start {wrote}"
            )

    def write_settings(self, steps: int, dtype: torch.dtype, inputs: dict[str, str]) -> None:
        """Write `config.yaml`, and in `run.json` what was settled when the run began.

        Args:
            steps: number of updates.
            dtype: number format.
            inputs: files that are trained on, with their checksums.
        """
        precision = Precision.bf16 if dtype is torch.bfloat16 else Precision.fp32
        begun = {"steps": steps, "precision": precision.value, "inputs": inputs, "speechssl": self._versions()}
        write_text(self.path / "config.yaml", yaml.safe_dump(plain(self._settings), sort_keys=False))
        write_json(self.path / "run.json", begun)

    def _versions(self) -> list[str]:
        """Return the versions of speechssl that the run was trained with, this one last; warn where it changes."""
        before = self._begun().get("speechssl", [])
        if not before or before[-1] == __version__:
            return before or [__version__]
        told = "%s: the run goes on with speechssl %s, after %s (CHANGELOG.md: what changed)"
        log.warning(told, self.path, __version__, before[-1])
        return [*before, __version__]

    def fixed_steps(self) -> int | None:
        """Return the number of updates fixed when the run began, if it has begun."""
        steps: int | None = self._begun().get("steps")
        return steps

    def precision(self) -> Precision:
        """Return the number format that the run began with, as set where it has not begun.

        `auto` may be another one on the machine where it goes on. An older `run.json` does not hold it.
        """
        return Precision(self._begun().get("precision", self._settings.run.precision))

    def has_encoder_of(self, step: int) -> bool:
        """Return whether `encoder/` holds the weights after update `step`."""
        folder = self.path / "encoder"
        heads = folder / "heads.json"
        # Without encoder.json the folder is not complete; heads.json is written after all weights.
        return (folder / "encoder.json").is_file() and heads.is_file() and read_json(heads).get("step") == step

    def _begun(self) -> dict[str, Any]:
        file = self.path / "run.json"
        begun: dict[str, Any] = read_json(file) if file.is_file() else {}
        return begun


def _is_no_false_alarm(record: logging.LogRecord) -> bool:
    """torcheval takes a mean of exactly 0 (no topic guessed right) for a mean of nothing."""
    return "No calls to update()" not in record.getMessage()


def _read_settings(file: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        settings = None
    if not isinstance(settings, dict):
        raise UserError(f"{file} has no settings of a run: give another out=, or take it away")
    return settings
