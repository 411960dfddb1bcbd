"""Checkpoint files: written to the disk before they count, and read without trusting them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from fairseq2.checkpoint import StandardCheckpointManager
from fairseq2.file_system import LocalFileSystem
from fairseq2.gang import Gangs
from fairseq2.io import (
    CorruptFileError,
    TensorFileDumper,
    TensorFileDumpOptions,
    TensorFileLoader,
    TensorFileLoadOptions,
)
from fairseq2.utils.threading import _StandardThreadPool

from speechssl.files import whole_file


class SafeLoader(TensorFileLoader):
    """Reads tensors and plain values only, whatever the caller asks for."""

    def load(self, file: Path, options: TensorFileLoadOptions | None = None) -> dict[str, object]:
        """Load a file with `weights_only=True`.

        Raises:
            CorruptFileError: it is not whole, or holds anything but tensors and plain values.
        """
        try:
            state: dict[str, object] = torch.load(file, map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.PickleError, EOFError) as error:
            raise CorruptFileError(file) from error
        return state


class WholeDumper(TensorFileDumper):
    """Writes a file whole, and to the disk, before the checkpoint is declared complete."""

    def dump(self, data: Mapping[str, object], file: Path, options: TensorFileDumpOptions | None = None) -> None:
        """Save `data` in a form that `weights_only=True` reads."""
        with whole_file(file) as temporary:
            # weights_only=True reads pickle protocol 2 only.
            torch.save(dict(data), temporary, pickle_protocol=2)


class Postponed:
    """Stands in for the checkpoint manager during a validation, where fairseq2 would complete what is being saved.

    A checkpoint counts when the validation at its update is over: a run killed in between validates again, and in a
    validation FSDP's weights, of which `encoder/` is made, cannot be gathered anew.
    """

    def maybe_complete_save_operation(self, *, blocking: bool = False) -> bool | None:
        """Complete nothing."""
        return None


def checkpoint_manager(run_folder: Path, gangs: Gangs) -> StandardCheckpointManager:
    """Return fairseq2's checkpoint manager over our file reader and writer."""
    return StandardCheckpointManager(
        run_folder, gangs, LocalFileSystem(), SafeLoader(), WholeDumper(), _StandardThreadPool(max_num_workers=1)
    )
