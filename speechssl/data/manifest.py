"""Manifests in fairseq's format: a root folder, then one audio file a line with its length."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import overload

import numpy as np
import numpy.typing as npt

from speechssl.errors import UserError
from speechssl.files import require_file, whole_file

AUDIO = "audio.json"
"""File beside the manifests that changes when a recording does: a manifest changes only where a length does."""


class Paths(Sequence[str]):
    """Paths of a manifest in one string of bytes: a third of the memory that a list of them takes.

    Args:
        paths: taken one by one.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._text = bytearray()
        self._ends = array("q", [0])
        for path in paths:
            self._text += path.encode()
            self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        place = range(len(self))[index]
        return self._text[self._ends[place] : self._ends[place + 1]].decode()


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


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest, ours or fairseq's.

    Raises:
        UserError: no such file, a line without exactly a path and a whole number of samples, a path that leaves the
            root, or no utterance at all.
    """
    path = require_file(path, made_by="speechssl manifest")
    samples = array("q")

    def paths() -> Iterator[str]:
        for number, line in enumerate(file, start=2):
            cells = line.rstrip("\n").split("\t")
            if len(cells) != 2 or not cells[1].isascii() or not cells[1].isdigit():
                raise UserError(
                    f"{path} line {number} is not `path<TAB>samples`; make it again with `speechssl manifest`"
                )
            if leaves_root(cells[0]):
                raise UserError(f"{path} line {number}: '{cells[0]}' is not a path inside the manifest's root {root}")
            samples.append(int(cells[1]))
            yield cells[0]

    with open(path, encoding="utf-8") as file:
        root = Path(file.readline().rstrip("\n"))
        listed = Paths(paths())
    if not listed:
        raise UserError(f"{path} lists no audio file; make it again with `speechssl manifest`")
    return Manifest(root, listed, np.array(samples, dtype=np.int64), path)


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
    return not path or path.startswith("/") or ".." in PurePosixPath(path).parts
