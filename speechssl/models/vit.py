"""A small vision transformer (arXiv 2010.11929) on patches of log-mel spectrograms."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechssl.errors import UserError
from speechssl.models.backbone import Backbone, BackboneOutput

PATCH = 16
"""Bands and frames of a patch."""


class VisionTransformer(Backbone):
    """Patches of 16 bands by 16 frames, sinusoidal positions of band and time, pre-LN transformer layers.

    Positions are computed, not learned, so a clip may have any length. A frame is the mean of the patches of one time,
    and `pooled` the mean of the frames. The taps are the means of all patches after each layer but the last.

    Args:
        num_mels: mel bands, a multiple of 16.
        dim: width, a multiple of 4 and of `num_heads`.
        num_layers: transformer layers.
        num_heads: attention heads.
        ffn_dim: inner width of the feed-forward networks.
        dropout: on attention weights, and inside and after both parts of a layer.
    """

    stride = PATCH

    def __init__(
        self,
        num_mels: int = 64,
        dim: int = 192,
        num_layers: int = 4,
        num_heads: int = 3,
        ffn_dim: int = 768,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if num_mels % PATCH:
            raise UserError(f"log_mel.num_mels={num_mels} is not a multiple of {PATCH}, as vit needs")
        self.dim = dim
        self.tap_dims = [dim] * (num_layers - 1)
        self.patches = nn.Conv2d(1, dim, PATCH, stride=PATCH)
        # Not TransformerEncoder: that copies one layer, so that all of them start with the same weights.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, num_heads, ffn_dim, dropout, activation=_gelu, batch_first=True, norm_first=True
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, log_mel: Tensor) -> BackboneOutput:
        """Encode `(batch, mels, frames)`, 16 frames or more; what does not fill a last patch of 16 is left out."""
        grid = self.patches(log_mel[:, None])
        rows, columns = grid.shape[2:]
        # Under autocast the convolution gives half precision; what the layers add up must be wider.
        x = grid.flatten(2).transpose(1, 2).to(self.norm.weight.dtype)
        x = x + patch_positions(rows, columns, self.dim, x.device).to(x.dtype)
        outputs = []
        for layer in self.layers:
            x = layer(x)
            outputs.append(x)
        frames = self.norm(x).unflatten(1, (rows, columns)).mean(dim=1)
        return BackboneOutput(frames, [output.mean(dim=1) for output in outputs[:-1]], self.pool(frames))


def _gelu(x: Tensor) -> Tensor:
    """Not `"gelu"`: in evaluation torch has a faster path for that, which on a GPU may be GELU's tanh form."""
    return functional.gelu(x)


def patch_positions(rows: int, columns: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Return `(rows * columns, dim)`: sinusoids of a patch's row in the first half, of its column in the second.

    Each half is the encoding of arXiv 1706.03762, sines before cosines: wavelengths from 2 pi to 20 000 pi.
    """
    down = _sinusoids(rows, dim // 2, device)[:, None].expand(rows, columns, -1)
    along = _sinusoids(columns, dim // 2, device)[None].expand(rows, columns, -1)
    return torch.cat([down, along], dim=2).flatten(0, 1)


def _sinusoids(count: int, dim: int, device: torch.device | None) -> Tensor:
    rates = 10_000.0 ** (-torch.arange(dim // 2, device=device) / (dim // 2))
    angles = torch.arange(count, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
