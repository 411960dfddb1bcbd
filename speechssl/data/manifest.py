"""Manifests in fairseq's format: a root folder, then one audio file a line with its length."""

from __future__ import annotations

import os
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from speechssl.errors import UserError
from speechssl.files import require_file, require_utf8, whole_file

AUDIO = "audio.json"
"""File beside the manifests that changes when a recording does: a manifest changes only where a length does."""


class Paths(Sequence[str]):
    """Paths of a manifest, read from its file when they are asked for: only where they stand is held in memory.

    The file stays open, so a manifest that is replaced later changes nothing here.

    Args:
        file: the manifest.
        starts: the byte at which the line of each utterance starts, and the end of the last line.
    """

    def __init__(self, file: Path, starts: npt.NDArray[np.int64]) -> None:
        self._name = file
        self._starts = starts
        self._handle = os.open(file, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        start, stop = int(self._starts[place]), int(self._starts[place + 1])
        # Reads at a place of its own: threads and forked processes share the handle.
        path, tab, _ = os.pread(self._handle, stop - start, start).partition(b"\t")
        if not tab:
            raise UserError(f"{self._name} has changed while it was read; start again")
        return path.decode()


@dataclass(frozen=True)
class Manifest:
    """One split of a corpus."""

    root: Path
    """Folder that the paths start from."""
    paths: Sequence[str]
    """Audio files, relative to the root."""
    samples: npt.NDArray[np.int64]
    """`(utterances,)` samples at 16 kHz."""
    file: Path
    """Where the manifest was read from."""

    def __len__(self) -> int:
        return len(self.paths)

    def audio_path(self, index: int) -> Path:
        """Return where the audio file of an utterance is."""
        return self.root / self.paths[index]


def unwatched_audio(*manifests: str | Path) -> Iterator[Path]:
    """Yield the audio files of manifests; none where `audio.json` beside one changes with them."""
    for file in map(Path, manifests):
        if not file.with_name(AUDIO).is_file():
            manifest = read_manifest(file)
            yield from (manifest.root / path for path in manifest.paths)


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest, ours or fairseq's.

    Raises:
        UserError: no such file, a line without exactly a path and a whole number of samples, a path that leaves the
            root, no utterance at all, or text that is not UTF-8.
    """
    path = require_file(path, made_by="speechssl manifest")
    starts, samples = array("q"), array("q")
    with open(path, "rb") as file, require_utf8(path):
        first = file.readline()
        root = Path(first.decode().rstrip("\r\n"))
        end = len(first)
        for number, line in enumerate(file, start=2):
            cells = line.decode().rstrip("\r\n").split("\t")
            if len(cells) != 2 or not cells[1].isascii() or not cells[1].isdigit():
                raise UserError(
                    f"{path} line {number} is not `path<TAB>samples`; make it again with `speechssl manifest`"
                )
            if leaves_root(cells[0]):
                raise UserError(f"{path} line {number}: '{cells[0]}' is not a path inside the manifest's root {root}")
            starts.append(end)
            samples.append(int(cells[1]))
            end += len(line)
    starts.append(end)
    if not samples:
        raise UserError(f"{path} lists no audio file; make it again with `speechssl manifest`")
    listed = Paths(path, np.frombuffer(starts, dtype=np.int64))
    return Manifest(root, listed, np.frombuffer(samples, dtype=np.int64), path)


def write_manifest(path: str | Path, root: str | Path, entries: Iterable[tuple[str, int]]) -> None:
    """Write a manifest, whole or not at all.

    Args:
        path: the file to write.
        root: folder that the paths start from; written as an absolute path.
        entries: path relative to the root and samples at 16 kHz of every utterance.
    """
    with whole_file(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        print(Path(root).absolute(), file=file)
        for name, samples in entries:
            print(name, samples, sep="\t", file=file)


def leaves_root(path: str) -> bool:
    """Return whether a manifest's path is not one inside its root."""
    return not path or path.startswith("/") or ".." in path.split("/")
