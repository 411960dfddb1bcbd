"""Checkpoint files: written to the disk before they count, and read without trusting them."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from fairseq2.checkpoint import CheckpointError, CheckpointNotFoundError, StandardCheckpointManager
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
from torch import Tensor

from speechssl.errors import UserError
from speechssl.files import whole_file


class SafeLoader(TensorFileLoader):
    """Reads tensors and plain values only, whatever the caller asks for.

    Args:
        device: that the run goes on on, perhaps of another kind than before.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def load(self, file: Path, options: TensorFileLoadOptions | None = None) -> dict[str, object]:
        """Load a file with `weights_only=True`.

        Raises:
            CorruptFileError: it is not whole, or holds anything but tensors and plain values.
        """
        try:
            state: dict[str, object] = torch.load(file, map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except Exception as error:  # torch has no error of its own for a damaged file
            # Where a file is cut off, torch may seek before its start.
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            raise CorruptFileError(file) from error
        if isinstance(generators := state.get("_rng_bag"), dict):
            generators["generators"] = self._of_this_device(generators["generators"])
        return state

    def _of_this_device(self, states: list[Tensor]) -> list[Tensor]:
        """Return the states of random generators, the processor's and then a GPU's, that this device has.

        fairseq2 takes no others. A GPU that goes on with a run of a processor draws what its own generator draws.
        """
        if self._device.type == "cpu":
            return states[:1]
        return states if len(states) > 1 else [*states, torch.cuda.get_rng_state(self._device)]


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


def checkpoint_folder(run_folder: Path, step: int) -> Path:
    """Return where the checkpoint of update `step` is."""
    return run_folder / "checkpoints" / f"step_{step}"


def damaged(folder: Path) -> UserError:
    """Return what to say of a checkpoint that cannot be read."""
    return UserError(
        f"{folder} is damaged or not complete: delete it, and the same command goes on from the checkpoint before it, "
        "or from the beginning where there is none"
    )


@contextlib.contextmanager
def damage_is_told(run_folder: Path) -> Iterator[None]:
    """Raise a `UserError` that names the checkpoint if the block cannot read one, or cannot use it."""
    try:
        yield
    except CheckpointNotFoundError as error:
        raise damaged(checkpoint_folder(run_folder, error.step_nr)) from error
    except CheckpointError as error:
        folder, cause = checkpoint_folder(run_folder, error.step_nr), error.__cause__
        if isinstance(cause, CorruptFileError):
            raise damaged(folder) from error
        # fairseq2 says the same of a lack of memory, and of a file that is whole: neither is to be deleted.
        if isinstance(cause, torch.OutOfMemoryError):
            raise cause from error
        raise UserError(
            f"{folder} does not fit this run ({error}): go on with the version of speechssl that wrote it, or give "
            "another out="
        ) from error


def checkpoint_manager(run_folder: Path, gangs: Gangs) -> StandardCheckpointManager:
    """Return fairseq2's checkpoint manager over our file reader and writer."""
    return StandardCheckpointManager(
        run_folder,
        gangs,
        LocalFileSystem(),
        SafeLoader(gangs.root.device),
        WholeDumper(),
        _StandardThreadPool(max_num_workers=1),
    )
