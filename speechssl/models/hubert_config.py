"""Settings of the HuBERT encoder, and the published sizes (arXiv 2106.07447)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

from speechssl.audio.fbank import empty_bands
from speechssl.errors import UserError, nearest
from speechssl.limits import named, require
from speechssl.settings import read_with, unread

_READ_IN_TRAINING = (
    "feature_grad_mult", "dropout", "attention_dropout", "activation_dropout", "input_dropout", "layerdrop", "final_dim"
)  # fmt: skip
"""Settings that do not decide what a trained encoder computes."""


def _published_convs() -> list[list[int]]:
    return [[512, 10, 5], *([512, 3, 2] for _ in range(4)), *([512, 2, 2] for _ in range(2))]


@dataclass
class HubertConfig:
    """Settings of :class:`speechssl.models.hubert.HubertEncoder`. The defaults are HuBERT Base."""

    front_end: str = "waveform"
    """What the transformer sees: `waveform` (convolutions over samples) or `fbank` (log-mel filterbank)."""
    conv_layers: list[list[int]] = field(default_factory=_published_convs, metadata=read_with("front_end", "waveform"))
    """Convolutions of the waveform front end: a list of [channels, kernel, stride], without padding."""
    conv_norm: str = field(default="group", metadata=read_with("front_end", "waveform"))
    """Norm of the convolutions: `group` (a channel over time, first layer) or `layer` (over channels, all layers)."""
    conv_bias: bool = field(default=False, metadata=read_with("front_end", "waveform"))
    """Whether the convolutions of the waveform front end have a bias."""
    feature_grad_mult: float = 0.1
    """Factor on the gradient that reaches the convolutions of the front end; 0 freezes them."""
    normalize: bool = field(default=False, metadata=read_with("front_end", "waveform"))
    """Whether each waveform is brought to zero mean and unit variance over its valid samples."""
    fbank_num_mels: int = field(default=80, metadata=read_with("front_end", "fbank"))
    """Mel bands of the fbank front end."""
    fbank_low_hz: float = field(default=20.0, metadata=read_with("front_end", "fbank"))
    """Lowest frequency of the mel bands, in Hz."""
    fbank_high_hz: float = field(default=8000.0, metadata=read_with("front_end", "fbank"))
    """Highest frequency of the mel bands, in Hz; 4000 for recordings made at 8 kHz, which have nothing above."""
    fbank_stack: int = field(default=4, metadata=read_with("front_end", "fbank"))
    """Frames of 10 ms that become one frame of the encoder: 4 gives 25 frames a second, 2 gives 50."""
    fbank_subsampling: str = field(default="stack", metadata=read_with("front_end", "fbank"))
    """How they do: `stack` puts them side by side, `conv` learns convolutions (Fast-HuBERT, arXiv 2309.13860)."""
    fbank_conv_dim: int = field(default=512, metadata=read_with("fbank_subsampling", "conv"))
    """Output channels of `fbank_subsampling=conv`; the convolutions before the last have as many too."""
    num_layers: int = 12
    """Transformer layers."""
    dim: int = 768
    """Width of the hidden states."""
    ffn_dim: int = 3072
    """Inner width of the feed-forward networks."""
    num_heads: int = 12
    """Attention heads."""
    layer_norm_first: bool = False
    """Layer norm before attention and feed-forward (pre-LN, as Large) instead of after (post-LN, as Base)."""
    conv_pos: int = 128
    """Kernel of the positional convolution, in frames."""
    conv_pos_groups: int = 16
    """Groups of the positional convolution."""
    dropout: float = 0.1
    """Dropout on the input of the first layer, after attention and after the feed-forward network."""
    attention_dropout: float = 0.1
    """Dropout on attention weights."""
    activation_dropout: float = 0.0
    """Dropout inside the feed-forward network."""
    input_dropout: float = 0.1
    """Dropout on the projected features, before masking."""
    layerdrop: float = 0.05
    """Probability that a layer is skipped in a training step."""
    cls_frame: bool = False
    """Whether a learned CLS frame stands before the frames of an utterance, for the topic head (no export holds it)."""
    final_dim: int = 256
    """Width in which hidden states are compared with label embeddings: for the heads, the encoder does not use it."""

    def decides(self, name: str) -> bool:
        """Return whether a setting decides what an encoder with given weights computes."""
        return name not in _READ_IN_TRAINING and unread(type(self), vars(self), name) is None

    def __post_init__(self) -> None:
        _check_choice("front_end", self.front_end, ("waveform", "fbank"))
        _check_choice("conv_norm", self.conv_norm, ("group", "layer"))
        _check_choice("fbank_subsampling", self.fbank_subsampling, ("stack", "conv"))
        sizes = ("fbank_num_mels", "fbank_stack", "fbank_conv_dim", "num_layers", "dim", "ffn_dim", "final_dim")
        require(named(self, *sizes, "num_heads", "conv_pos", "conv_pos_groups", prefix="model."), least=1)
        dropouts = ("dropout", "attention_dropout", "activation_dropout", "input_dropout", "layerdrop")
        require(named(self, *dropouts, prefix="model."), least=0, below=1)
        require({"model.feature_grad_mult": self.feature_grad_mult}, least=0)
        _require(self.dim % self.num_heads == 0, f"dim {self.dim} is not a multiple of num_heads {self.num_heads}")
        _require(
            self.dim % self.conv_pos_groups == 0,
            f"dim {self.dim} is not a multiple of conv_pos_groups {self.conv_pos_groups}",
        )
        self._check_front_end()

    def _check_front_end(self) -> None:
        if self.front_end == "waveform":
            _require(bool(self.conv_layers), "conv_layers is empty: give a list of [channels, kernel, stride]")
            _require(
                all(len(layer) == 3 and min(layer) >= 1 for layer in self.conv_layers),
                f"conv_layers is {self.conv_layers}: it must be a list of [channels, kernel, stride], all positive",
            )
            return
        _require(
            0 <= self.fbank_low_hz < self.fbank_high_hz <= 8000,
            f"fbank_low_hz {self.fbank_low_hz} and fbank_high_hz {self.fbank_high_hz} must satisfy "
            "0 <= low < high <= 8000 (half of the sample rate)",
        )
        empty = empty_bands(self.fbank_num_mels, self.fbank_low_hz, self.fbank_high_hz)
        _require(
            not empty,
            f"{empty} of fbank_num_mels={self.fbank_num_mels} bands from fbank_low_hz {self.fbank_low_hz:g} to "
            f"fbank_high_hz {self.fbank_high_hz:g} hold no line of the spectrum; lower fbank_num_mels",
        )
        if self.fbank_subsampling == "conv":
            _require(
                self.fbank_stack >= 2 and math.log2(self.fbank_stack).is_integer(),
                f"fbank_stack is {self.fbank_stack}: fbank_subsampling=conv halves the rate, so it must be 2, 4 or 8",
            )


_LARGE = {
    "conv_norm": "layer",
    "feature_grad_mult": 1.0,
    "normalize": True,
    "layer_norm_first": True,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "input_dropout": 0.0,
    "layerdrop": 0.0,
}

SIZES: dict[str, dict[str, Any]] = {
    "base": {},
    "large": {"num_layers": 24, "dim": 1024, "ffn_dim": 4096, "num_heads": 16, "final_dim": 768, **_LARGE},
    "xlarge": {"num_layers": 48, "dim": 1280, "ffn_dim": 5120, "num_heads": 16, "final_dim": 1024, **_LARGE},
    "small": {
        "conv_layers": [[256, kernel, stride] for _, kernel, stride in _published_convs()],
        "dim": 384,
        "ffn_dim": 1536,
        "num_heads": 6,
    },
    "fast": {"front_end": "fbank", "fbank_subsampling": "conv"},
    "tiny": {
        "front_end": "fbank",
        "num_layers": 6,
        "dim": 256,
        "ffn_dim": 1024,
        "num_heads": 4,
        # Pre-LN learns at a high rate from the first update, post-LN stays on its plateau for hundreds of them.
        "layer_norm_first": True,
        # 1.3 s at 25 frames a second: a masked frame finds its neighbours sooner than with 5 s.
        "conv_pos": 32,
        # No dropout: so small a model does not learn its audio by heart, and random numbers cost 15 % of a CPU's time.
        "dropout": 0.0,
        "input_dropout": 0.0,
        "attention_dropout": 0.0,
        "layerdrop": 0.0,
    },
}
"""What each size changes of the defaults. `small` and `tiny` are this project's, the others are published."""


def size_config(size: str, **changes: Any) -> HubertConfig:
    """Return the configuration of a size of :data:`SIZES`, with `changes` to single settings."""
    if size not in SIZES:
        raise UserError(f"no model size '{size}'{nearest(size, SIZES)} (known: {', '.join(SIZES)})")
    return HubertConfig(**copy.deepcopy(SIZES[size] | changes))


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    _require(value in known, f"{name} is '{value}': it must be one of {', '.join(known)}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise UserError(f"model configuration: {message}")
