"""Settings of the encoders of clips."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from speechssl.audio.log_mel import LogMelSettings
from speechssl.errors import UserError
from speechssl.limits import named, require


class BackboneName(str, Enum):
    """Networks from log-mel spectrograms to one vector a clip."""

    audio_ntt = "audio_ntt"
    efficientnet_b0 = "efficientnet_b0"
    vit = "vit"


@dataclass
class ClipConfig:
    """Settings of :class:`speechssl.models.clip_encoder.ClipEncoder`. The defaults are UnFuSeD's encoder."""

    backbone: BackboneName = BackboneName.audio_ntt
    """`audio_ntt` (AudioNTT2020Task6, 5.3 M parameters), `efficientnet_b0` (torchvision's, 4.0 M) or `vit` (patches of
    16 bands by 16 frames, 1.8 M)."""
    log_mel: LogMelSettings = field(default_factory=LogMelSettings)
    """The log-mel spectrogram that the backbone sees."""
    norm_updates: int = 1000
    """Training batches that the mean and variance of the log-mel spectrograms follow; then they stay."""
    audio_ntt_dim: int = 2048
    """Width of the linear layers of `audio_ntt`, and of what comes out."""
    audio_ntt_dropout: float = 0.3
    """Dropout between the linear layers of `audio_ntt`."""
    vit_dim: int = 192
    """Width of `vit`: a multiple of 4 and of `vit_heads`."""
    vit_layers: int = 4
    """Transformer layers of `vit`."""
    vit_heads: int = 3
    """Attention heads of `vit`."""
    vit_ffn_dim: int = 768
    """Inner width of the feed-forward networks of `vit`."""
    vit_dropout: float = 0.1
    """Dropout in the layers of `vit`."""

    def __post_init__(self) -> None:
        sizes = ("norm_updates", "audio_ntt_dim", "vit_dim", "vit_layers", "vit_heads", "vit_ffn_dim")
        dropouts = ("audio_ntt_dropout", "vit_dropout")
        require(named(self, *filter(self.reads, sizes), prefix="model."), least=1)
        require(named(self, *filter(self.reads, dropouts), prefix="model."), least=0, below=1)
        if self.backbone is BackboneName.vit and (self.vit_dim % 4 or self.vit_dim % self.vit_heads):
            raise UserError(
                f"model.vit_dim {self.vit_dim} is not a multiple of 4 and of model.vit_heads {self.vit_heads}"
            )

    def decides(self, name: str) -> bool:
        """Return whether a setting, by its name with dots, decides what an encoder with given weights computes."""
        return self.reads(name) and name != "norm_updates" and not name.endswith("_dropout")

    def reads(self, name: str) -> bool:
        """Return whether the backbone reads a setting: its own begin with its name."""
        return not any(name.startswith(f"{other.value}_") for other in BackboneName if other is not self.backbone)
