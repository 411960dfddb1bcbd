"""Hidden states of a frozen encoder, computed once and read back from a memory-mapped file in half precision."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from speechssl import __version__
from speechssl.errors import UserError
from speechssl.evaluation.superb.data import Utterance
from speechssl.evaluation.superb.disk import take_room
from speechssl.evaluation.superb.paths import RealPaths
from speechssl.evaluation.superb.states import Batch, FreshStates, FrozenEncoder, States
from speechssl.files import read_json, whole_file, write_json
from speechssl.locks import Lock, is_locked
from speechssl.progress import progress
from speechssl.threads import in_order

_STATES = "states.npy"
_FRAMES = "frames.npy"
_ENCODED = "encoded.npy"
"""Which utterances of a folder that is being filled are in it."""
_DESCRIPTION = "description.json"
_NEW = ".new-"
"""Beginning of the name of a folder that is being filled; then its name follows."""
_LOCK = ".lock"
"""File whose lock is that of the whole folder; with a dash and its name, that of what it holds."""
_NOTE_SECONDS = 30.0
"""What a killed process loses at most; to write states out takes time."""


class StoredStates:
    """States in a file. Only what a batch asks for is read; the system keeps what fits into free memory.

    As long as there is such an object, no process throws the file away.

    Args:
        folder: as :class:`StateStore` made it.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = Lock(_lock_file(folder), fcntl.LOCK_SH)
        self.frames = np.load(folder / _FRAMES, allow_pickle=False)
        self._starts = np.concatenate([[0], np.cumsum(self.frames)])
        self._states = np.load(folder / _STATES, mmap_mode="r", allow_pickle=False)

    def batch(self, rows: Sequence[int]) -> Batch:
        """Return the states of some utterances."""
        lengths = self.frames[list(rows)]
        batch = np.zeros((len(rows), lengths.max(), *self._states.shape[1:]), dtype=np.float16)
        for place, row in enumerate(rows):
            batch[place, : lengths[place]] = self._states[self._starts[row] : self._starts[row + 1]]
        return torch.from_numpy(batch), torch.from_numpy(lengths)

    def batches(self, chosen: Iterable[Sequence[int]]) -> Generator[Batch]:
        """Yield one batch after the other. A thread reads the next one meanwhile: two or, briefly, three are there."""
        for _, batch in in_order(chosen, self.batch, threads=1, ahead=1):
            yield batch


class StateStore:
    """Files of hidden states in one folder, each for one encoder and one list of utterances.

    A file is read when it is whole, and thrown away whole: the one that was used longest ago goes first when there is
    no room for another. What a killed process had encoded is gone on with. Processes may share the folder: what one of
    them reads or fills, no other throws away.

    Args:
        folder: of the files.
        limit: bytes that they may take. A part that needs more is not stored, but computed whenever it is used.
    """

    def __init__(self, folder: str | Path, limit: float) -> None:
        self._folder = Path(folder)
        self._limit = limit

    def states(self, frozen: FrozenEncoder, utterances: Sequence[Utterance], pooled: bool, what: str) -> States:
        """Return the states of a part, from the store or put into it.

        Args:
            frozen: the encoder.
            utterances: of the part.
            pooled: whether only the mean over time is kept.
            what: the part, for messages.
        """
        frames = frozen.frames(utterances)
        if pooled:
            frames = np.ones_like(frames)
        size = int(frames.sum()) * frozen.layers * frozen.encoder.dim * 2
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = self._folder / _key(frozen, utterances, pooled)
        new = self._folder / f"{_NEW}{folder.name}"
        while True:
            with self._alone():
                if (folder / _DESCRIPTION).is_file():
                    return _stored(folder)
                if not is_locked(_lock_file(new)):
                    filling = self._begin(new, {"bytes": size, "source": frozen.source, "part": what})
                    break
            print(f"superb: another process computes the hidden states of {what}; waiting for it")
            # Shared, as its readers hold the lock afterwards.
            with Lock(_lock_file(new), fcntl.LOCK_SH):
                pass
        if filling is None:
            print(
                f"superb: hidden states of {what} take {size / 1e9:.1f} GB, more than cache_gb="
                f"{self._limit / 1e9:g} leaves; they are computed anew in every epoch"
            )
            return FreshStates(frozen, utterances, pooled)
        with filling:
            try:
                _fill(new, frozen, utterances, pooled, frames, what)
            except BaseException:
                with self._alone():
                    filling.release()
                    if not (new / _ENCODED).is_file():
                        _throw_away(new)
                raise
            with self._alone():
                (new / _ENCODED).unlink()
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(new, folder)
                filling.release()
                return _stored(folder)

    def _alone(self) -> Lock:
        """Return the lock of the whole folder. Only who holds it locks an entry for longer, or throws one away."""
        return Lock(self._folder / _LOCK)

    def _begin(self, new: Path, description: dict[str, Any]) -> Lock | None:
        """Return the lock of a folder with a description, new or left by a killed process; None where room is lacking.

        The caller holds the lock of all folders.
        """
        for left in self._folder.glob(f"{_NEW}*"):
            if not (left / _DESCRIPTION).is_file() and not is_locked(_lock_file(left)):
                _throw_away(left)
        if not self._make_room(description["bytes"], new):
            return None
        new.mkdir(exist_ok=True)
        lock = Lock(_lock_file(new))
        # Written first: another process knows what room is taken.
        write_json(new / _DESCRIPTION, description)
        return lock

    def _make_room(self, size: int, new: Path) -> bool:
        """Throw away what was used longest ago until there is room for a folder, all of it; return whether there is."""
        found = sorted(self._folder.glob(f"*/{_DESCRIPTION}"), key=lambda file: file.parent.stat().st_mtime)
        entries = {file.parent: int(read_json(file)["bytes"]) for file in found if file.parent != new}
        free = self._limit - sum(entries.values())
        removable = [folder for folder in entries if not is_locked(_lock_file(folder))]
        if size > free + sum(entries[folder] for folder in removable):
            return False
        for folder in removable:
            if size <= free:
                break
            _throw_away(folder)
            free += entries[folder]
        return True


def _fill(
    new: Path,
    frozen: FrozenEncoder,
    utterances: Sequence[Utterance],
    pooled: bool,
    frames: npt.NDArray[np.int64],
    what: str,
) -> None:
    """Encode into a folder all utterances that are not in it yet.

    Raises:
        UserError: the disk has no room for them, or what an utterance or the encoder is refused for.
    """
    if not (new / _ENCODED).is_file():
        _make_files(new, frames, (frozen.layers, frozen.encoder.dim), what)
    states, encoded = (np.lib.format.open_memmap(new / name, mode="r+") for name in (_STATES, _ENCODED))
    left = [utterance for utterance, there in zip(utterances, encoded, strict=True) if not there]
    rows = {utterance.name: row for row, utterance in enumerate(utterances)}
    starts = np.cumsum(frames) - frames
    fresh: list[int] = []
    noted = time.monotonic()
    with progress(utterances, f"{what}: {frozen.source}", "utterance") as bar:
        bar.update(len(utterances) - len(left))
        for group in frozen.groups(left) if left else ():
            for utterance, one in zip(group, frozen.encode(group, pooled), strict=True):
                row = rows[utterance.name]
                states[starts[row] : starts[row] + len(one)] = one.cpu().numpy()
                fresh.append(row)
            if time.monotonic() - noted >= _NOTE_SECONDS:
                # In this order: what is noted is on the disk.
                states.flush()
                encoded[fresh] = True
                encoded.flush()
                noted = time.monotonic()
            bar.update(len(group))
    states.flush()


def _make_files(new: Path, frames: npt.NDArray[np.int64], frame: tuple[int, int], what: str) -> None:
    """Make the files of a folder, without states; that of what is encoded comes last."""
    np.save(new / _FRAMES, frames, allow_pickle=False)
    # Closed at once: nothing is written to it before there is room.
    np.lib.format.open_memmap(new / _STATES, mode="w+", dtype=np.float16, shape=(int(frames.sum()), *frame))
    _reserve(new / _STATES, what)
    with whole_file(new / _ENCODED) as temporary:
        np.save(temporary, np.zeros(len(frames), dtype=bool), allow_pickle=False)


def _reserve(file: Path, what: str) -> None:
    """Take the room of a file.

    Raises:
        UserError: the disk has not so much.
    """
    if not take_room(file):
        size = file.stat().st_size / 1e9
        raise UserError(
            f"hidden states of {what} take {size:.1f} GB, and the disk of {file.parent.parent} has "
            "no room for them: give cache_dir on another disk, or a smaller cache_gb (they are then computed anew in "
            "every epoch)"
        )


def _stored(folder: Path) -> StoredStates:
    """Return the states of a whole folder, which is now the last that was used."""
    os.utime(folder)
    return StoredStates(folder)


def _lock_file(folder: Path) -> Path:
    """Return the file whose lock is that of an entry, also while it is filled.

    It is beside it: NFS keeps what is deleted while a process has it open, and with it the folder that it is in.
    """
    return folder.with_name(f"{_LOCK}-{folder.name.removeprefix(_NEW)}")


def _throw_away(folder: Path) -> None:
    """Delete a folder that nobody holds."""
    # Without its description a folder is no entry, whatever a kill leaves of it.
    (folder / _DESCRIPTION).unlink(missing_ok=True)
    shutil.rmtree(folder)
    _lock_file(folder).unlink(missing_ok=True)


def _key(frozen: FrozenEncoder, utterances: Sequence[Utterance], pooled: bool) -> str:
    """Return a name that changes with the version of speechssl, the encoder, the audio, or what is kept of it."""
    digest = hashlib.sha256(json.dumps([__version__, frozen.identity, frozen.gain, pooled]).encode())
    real_path = RealPaths()
    for utterance in utterances:
        stat = utterance.audio.stat()
        audio = [real_path(utterance.audio), stat.st_size, stat.st_mtime_ns]
        digest.update(json.dumps([utterance.name, *audio, utterance.first_sample, utterance.samples]).encode())
    return digest.hexdigest()[:32]
