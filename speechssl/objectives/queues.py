"""What objectives remember of earlier batches: the same in all processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from speechssl.processes import gathered, write_rows


class KeyQueue(torch.nn.Module):
    """The newest keys, first in first out (MoCo, arXiv 1911.05722). It starts with random directions, as published.

    Args:
        size: number of keys.
        dim: their width.
    """

    keys: Tensor
    clips: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, dim), dim=1))
        # -1: of no clip.
        self.register_buffer("clips", torch.full((size,), -1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def of_others(self, clips: Tensor) -> Tensor:
        """Return `(batch, size)`: true where a key is not of the clip `(batch,)` itself."""
        return clips[:, None] != self.clips

    def push(self, keys: Tensor, clips: Tensor) -> None:
        """Replace the oldest keys by those of all processes.

        Args:
            keys: `(batch, dim)`.
            clips: `(batch,)` int64: the clips' places in the manifest.
        """
        newest, clips = gathered(keys)[-len(self.keys) :], gathered(clips)[-len(self.keys) :]
        places = (self.position + torch.arange(len(newest), device=newest.device)) % len(self.keys)
        write_rows(self.keys, places, newest)
        # A key that is not finite was not written, and the one in its place is still of its own clip.
        self.clips[places] = torch.where(newest.isfinite().all(1), clips, self.clips[places])
        self.position.copy_((self.position + len(newest)) % len(self.keys))
