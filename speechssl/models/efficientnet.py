"""EfficientNet-B0 (arXiv 1905.11946) on log-mel spectrograms, built by torchvision."""

from __future__ import annotations

from torch import Tensor, nn

from speechssl.errors import UserError
from speechssl.models.backbone import Backbone, BackboneOutput

_TAPPED = {3: 40, 5: 112, 7: 320}
"""Stages whose output is a tap, and their channels: the last ones at strides 8, 16 and 32."""


class EfficientNet(Backbone):
    """EfficientNet-B0 for one channel, without its classifier; not pretrained.

    A frame is the mean over the bands of the last layer's 1280 channels, and `pooled` the mean of the frames: the
    network's own average. The taps put the channels and bands of a stage side by side.

    Args:
        num_mels: mel bands.

    Raises:
        UserError: torchvision is not installed.
    """

    dim = 1280
    stride = 32

    def __init__(self, num_mels: int = 64) -> None:
        super().__init__()
        self.features = _features()
        self.tap_dims = [
            channels * _halved(num_mels, times) for channels, times in zip(_TAPPED.values(), (3, 4, 5), strict=True)
        ]

    def frame_counts(self, log_mel_frames: Tensor) -> Tensor:
        """Return how many frames come out: the convolutions pad, so that a part of a step counts too."""
        return (log_mel_frames + self.stride - 1) // self.stride

    def forward(self, log_mel: Tensor) -> BackboneOutput:
        """Encode `(batch, mels, frames)`."""
        x = log_mel[:, None]
        taps = []
        for number, stage in enumerate(self.features):
            x = stage(x)
            if number in _TAPPED:
                taps.append(x.mean(dim=3).flatten(1))
        frames = x.mean(dim=2).transpose(1, 2)
        return BackboneOutput(frames, taps, self.pool(frames))


def _features() -> nn.Sequential:
    try:
        # A part of the training install only, and slow to import.
        from torchvision.models import efficientnet_b0
    except ModuleNotFoundError as error:
        raise UserError(
            f"backbone=efficientnet_b0 needs the package '{error.name}', which is not installed: "
            "pip install -e '.[train]'"
        ) from error
    features: nn.Sequential = efficientnet_b0(weights=None).features
    first = nn.Conv2d(1, 32, kernel_size=3, stride=2, padding=1, bias=False)
    nn.init.kaiming_normal_(first.weight, mode="fan_out")
    features.get_submodule("0").add_module("0", first)
    return features


def _halved(size: int, times: int) -> int:
    """Return what is left of `size` after convolutions of stride 2, which round up."""
    return -(-size // 2**times)
