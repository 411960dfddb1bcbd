"""AudioNTT2020Task6, the encoder of BYOL-A (arXiv 2103.06695) and UnFuSeD (arXiv 2303.05668)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechssl.errors import UserError
from speechssl.models.backbone import Backbone, BackboneOutput

_CHANNELS = 64
_BLOCKS = 3


class AudioNTT(Backbone):
    """Three convolution blocks, then two linear layers at each time step; 5 321 856 parameters as published.

    A block is a convolution 3x3 of 64 channels, batch norm, ReLU and a maximum over 2x2. The bands and channels of a
    time step are put side by side, bands outside, as in BYOL-A's code, whose names the weights have: its checkpoints
    of width 2048 fit, though they were trained on another mel scale (`LogMelSettings`). The taps are the time means of
    the blocks' outputs, laid out the same way: 2048, 1024 and 512 wide for 64 mels.

    Args:
        num_mels: mel bands, a multiple of 8.
        dim: width of both linear layers.
        dropout: between the linear layers.
    """

    stride = 2**_BLOCKS

    def __init__(self, num_mels: int = 64, dim: int = 2048, dropout: float = 0.3) -> None:
        super().__init__()
        if num_mels % self.stride:
            raise UserError(f"log_mel.num_mels={num_mels} is not a multiple of {self.stride}, as audio_ntt needs")
        self.dim = dim
        self.tap_dims = [_CHANNELS * num_mels // 2**block for block in range(1, _BLOCKS + 1)]
        self.features = nn.Sequential()
        for block in range(_BLOCKS):
            self.features.append(nn.Conv2d(_CHANNELS if block else 1, _CHANNELS, 3, padding=1))
            self.features.append(nn.BatchNorm2d(_CHANNELS))
            # The other way round in the paper, with the same result from four times as many numbers.
            self.features.append(nn.MaxPool2d(2))
            self.features.append(nn.ReLU(inplace=True))
        _lay_channels_side_by_side(self)
        self.register_load_state_dict_post_hook(_lay_channels_side_by_side)
        self.fc = nn.Sequential(
            nn.Linear(self.tap_dims[-1], dim),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(dim, dim),
            nn.ReLU(inplace=True),
        )

    def forward(self, log_mel: Tensor) -> BackboneOutput:
        """Encode `(batch, mels, frames)`, 8 frames or more; what does not fill a last step of 8 is left out."""
        x = log_mel[:, None]
        taps: list[Tensor] = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                taps.append(x.mean(dim=3).transpose(1, 2).flatten(1))
        # (batch, channels, mels, time) to (batch, time, mels * channels)
        frames = self.fc(x.permute(0, 3, 2, 1).flatten(2))
        return BackboneOutput(frames, taps, self.pool(frames))

    def pool(self, frames: Tensor) -> Tensor:
        """Return `(batch, dim)`: the maximum over time and the mean over time, added."""
        return frames.amax(dim=1) + frames.mean(dim=1)


def _lay_channels_side_by_side(backbone: AudioNTT, *_: object) -> None:
    """Lay out the weights so that the channels of a point lie side by side: batch norm and maxima take half the time.

    Weights that are loaded bring a layout of their own, and with another one results would differ by rounding.
    """
    backbone.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
