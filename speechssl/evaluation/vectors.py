"""Vectors of frozen encoders in files beside a task's results, so that a command that was killed goes on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechssl import __version__
from speechssl.evaluation.encoders.sources import encoder_identity
from speechssl.evaluation.recordings import Recording
from speechssl.files import changes, checksum_of
from speechssl.models.encoder import Encoder

VECTORS = "vectors"
"""Folder of these files, until the results are written."""


class VectorFile:
    """The vectors of the first batches of a list, float32, one after the other; the size of the file says how many.

    Args:
        path: of the file; it is made when it is written to.
        dim: numbers in a vector.
    """

    def __init__(self, path: Path, dim: int) -> None:
        self._path = path
        self._dim = dim

    def read(self, batches: Sequence[int]) -> tuple[int, Tensor]:
        """Return how many batches are whole, and their vectors `(vectors, dim)`; what is behind them is taken out.

        A process may have been killed in the middle of a vector, and the rest of a batch by itself would be rounded
        in another way.

        Args:
            batches: vectors of each batch.
        """
        stored = self._path.stat().st_size // (4 * self._dim) if self._path.is_file() else 0
        whole = [ends for ends in accumulate(batches) if ends <= stored]
        if not whole:
            self.remove()
            return 0, torch.empty(0, self._dim)
        with open(self._path, "r+b") as stream:
            stream.truncate(4 * self._dim * whole[-1])
        return len(whole), torch.from_numpy(np.fromfile(self._path, dtype=np.float32)).view(-1, self._dim)

    def append(self, vectors: Tensor) -> None:
        """Add the vectors of the next batch."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(self._path, "ab") as stream:
                stream.write(vectors.float().cpu().numpy().tobytes())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    def remove(self) -> None:
        """Forget all of them."""
        self._path.unlink(missing_ok=True)


def vectors_name(
    encoder: Encoder, source: str, recordings: Sequence[Recording], kept: Any, device: torch.device
) -> str:
    """Return a name that changes with the encoder, this package's version, the audio files, their order and what is
    kept of them.

    Args:
        encoder: the frozen encoder.
        source: what it was named by.
        recordings: all that it encodes.
        kept: what is read of each and kept.
        device: where it runs.
    """
    order = [recording.name for recording in recordings]
    audio = changes(recording.audio for recording in recordings)
    facts = [encoder_identity(encoder, source), __version__, kept, device.type, order, audio]
    return f"{checksum_of(facts)[:32]}.f32"
