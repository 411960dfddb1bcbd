"""Front ends: from waveforms to the frames that the transformer sees.

Every front end is batch-invariant: what it gives for an utterance's valid frames depends on nothing else in the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.audio.fbank import fbank_frames, log_mel_fbank
from speechssl.models.hubert_config import HubertConfig
from speechssl.transfer import moved


class ChannelLayerNorm(nn.Module):
    """Layer norm over the channels of `(batch, channels, frames)`. Its weights are named as fairseq names them."""

    def __init__(self, channels: int):
        super().__init__()
        self.add_module("1", nn.LayerNorm(channels))

    def forward(self, x: Tensor, lengths: list[int] | None) -> Tensor:
        """Return the normalised `x`; frames are independent, so `lengths` do not matter."""
        return self.get_submodule("1")(x.transpose(1, 2)).transpose(1, 2)


class TimeGroupNorm(nn.GroupNorm):
    """Group norm of one channel a group: statistics over the valid frames of `(batch, channels, frames)`."""

    def __init__(self, channels: int):
        super().__init__(channels, channels)

    def forward(self, x: Tensor, lengths: list[int] | None = None) -> Tensor:
        """Return the normalised `x`; `lengths` are valid frames, `None` where all frames are valid."""
        if lengths is None:
            return super().forward(x)
        # One after the other: a kernel that knows no padding is faster than several passes over all of it.
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.weight.float(), self.bias.float()
            normalised = [
                torch.group_norm(one[None, :, :length].float(), self.num_groups, weight, bias, self.eps)
                for one, length in zip(x, lengths, strict=True)
            ]
            return torch.cat([F.pad(one, (0, x.size(2) - one.size(2))) for one in normalised]).to(x.dtype)


class ConvLayer(nn.Module):
    """Convolution, norm, GELU on `(batch, channels, frames)`. Weights `0.*`, and `2.*` or `2.1.*` as in fairseq."""

    def __init__(self, in_channels: int, channels: int, kernel: int, stride: int, bias: bool, norm: str):
        super().__init__()
        conv = nn.Conv1d(in_channels, channels, kernel, stride, bias=bias)
        nn.init.kaiming_normal_(conv.weight)
        self.kernel, self.stride = kernel, stride
        self.add_module("0", conv)
        self.has_norm = norm != "none"
        if self.has_norm:
            self.add_module("2", TimeGroupNorm(channels) if norm == "group" else ChannelLayerNorm(channels))

    def frames(self, lengths: Tensor) -> Tensor:
        """Return the number of outputs for `lengths` inputs: `floor((lengths - kernel) / stride) + 1`, at least 0."""
        return (torch.div(lengths - self.kernel, self.stride, rounding_mode="floor") + 1).clamp(min=0)

    def forward(self, x: Tensor, lengths: list[int] | None) -> Tensor:
        """Return the layer's output; `lengths` are its valid output frames, `None` where all are."""
        x = self.get_submodule("0")(x)
        if self.has_norm:
            x = self.get_submodule("2")(x, lengths)
        return F.gelu(x)


class WaveformFrontEnd(nn.Module):
    """Convolutions over samples, without padding (arXiv 2106.07447, section 3; wav2vec 2.0's feature encoder)."""

    def __init__(self, config: HubertConfig):
        super().__init__()
        self.conv_layers = nn.ModuleList()
        self.grad_mult = config.feature_grad_mult
        self.normalize = config.normalize
        self.samples_per_frame = 1
        in_channels = 1
        for index, (channels, kernel, stride) in enumerate(config.conv_layers):
            norm = "layer" if config.conv_norm == "layer" else "group" if index == 0 else "none"
            self.conv_layers.append(ConvLayer(in_channels, channels, kernel, stride, config.conv_bias, norm))
            in_channels = channels
            self.samples_per_frame *= stride
        self.channels = in_channels

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Return the number of frames for `lengths` samples, by fairseq's rule."""
        for layer in self.conv_layers:
            lengths = layer.frames(lengths)  # type: ignore[operator]
        return lengths

    def forward(self, waveforms: Tensor, lengths: list[int] | None) -> Tensor:
        """Return features `(batch, frames, channels)` of `waveforms` `(batch, samples)`.

        After an utterance's `lengths` they are anything, but finite.
        """
        if self.normalize:
            waveforms = normalize(waveforms[..., None], lengths)[..., 0]
        x = waveforms[:, None].to(next(self.parameters()).dtype)
        valid = None if lengths is None else torch.tensor(lengths)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.grad_mult > 0):
            for layer in self.conv_layers:
                valid = None if valid is None else layer.frames(valid)  # type: ignore[operator]
                x = layer(x, None if valid is None else valid.tolist())
        if x.requires_grad and self.grad_mult != 1.0:
            x.register_hook(lambda gradient: gradient * self.grad_mult)
        return x.transpose(1, 2)


class FbankFrontEnd(nn.Module):
    """Log-mel filterbank, normalised per utterance and band over its valid frames, then brought to a lower rate.

    `stack` puts neighbouring frames side by side (MelHuBERT, arXiv 2211.09944); `conv` is Fast-HuBERT's (arXiv
    2309.13860): convolutions of kernel 5 and stride 2 with gated linear units. Frames that do not fill the last
    step are left out.
    """

    def __init__(self, config: HubertConfig):
        super().__init__()
        self.num_mels, self.stack = config.fbank_num_mels, config.fbank_stack
        self.low_hz, self.high_hz = config.fbank_low_hz, config.fbank_high_hz
        self.grad_mult = config.feature_grad_mult
        self.samples_per_frame = 160 * self.stack
        self.conv_layers = nn.ModuleList()
        if config.fbank_subsampling == "conv":
            in_channels = self.num_mels
            for _ in range(self.stack.bit_length() - 1):
                conv = nn.Conv1d(in_channels, 2 * config.fbank_conv_dim, 5, stride=2, padding=2)
                self.conv_layers.append(nn.ModuleDict({"0": conv}))
                in_channels = config.fbank_conv_dim
        self.channels = config.fbank_conv_dim if self.conv_layers else self.num_mels * self.stack

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Return the number of frames for `lengths` samples."""
        return fbank_frames(lengths) // self.stack

    def forward(self, waveforms: Tensor, lengths: list[int] | None) -> Tensor:
        """Return features `(batch, frames, channels)` of `waveforms` `(batch, samples)`, zero after their `lengths`."""
        frames = fbank_frames(waveforms.size(1)) // self.stack * self.stack
        valid = None if lengths is None else [fbank_frames(n) // self.stack * self.stack for n in lengths]
        with torch.no_grad(), torch.autocast(waveforms.device.type, enabled=False):
            mels = log_mel_fbank(waveforms.float(), self.num_mels, self.low_hz, self.high_hz)
            x = normalize(mels[:, :frames], valid)
        if not self.conv_layers:
            return x.reshape(x.size(0), -1, self.channels)
        x = self._convolve(x.to(next(self.parameters()).dtype), valid)
        if x.requires_grad and self.grad_mult != 1.0:
            x.register_hook(lambda gradient: gradient * self.grad_mult)
        return x

    def _convolve(self, x: Tensor, valid: list[int] | None) -> Tensor:
        x = x.transpose(1, 2)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.grad_mult > 0):
            for layer in self.conv_layers:
                x = F.glu(layer["0"](x), dim=1)  # type: ignore[index]
                if valid is not None:
                    # The convolutions pad with zeros at the end of the batch, so each utterance must end in zeros too.
                    valid = [n // 2 for n in valid]
                    x = x.masked_fill(~frame_mask(valid, x.size(2), x.device)[:, None], 0.0)
        return x.transpose(1, 2)


def frame_mask(lengths: list[int], frames: int, device: torch.device) -> Tensor:
    """Return `(batch, frames)`, true for the first `lengths[i]` frames of row i."""
    return torch.arange(frames, device=device) < moved(torch.tensor(lengths), device)[:, None]


def normalize(x: Tensor, lengths: list[int] | None, eps: float = 1e-5) -> Tensor:
    """Return `x` `(batch, steps, channels)` with zero mean and unit variance over the valid steps of each channel.

    The steps after an utterance's length become zero. `eps` is added to the variance, as fairseq does for waveforms.
    """
    if lengths is None:
        variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + eps)
    valid = frame_mask(lengths, x.size(1), x.device)[..., None]
    count = moved(torch.tensor(lengths), x.device)[:, None, None]
    mean = x.masked_fill(~valid, 0.0).sum(1, keepdim=True) / count
    centred = (x - mean).masked_fill(~valid, 0.0)
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + eps)
