"""The encoder of clips: log-mel spectrogram, running normalisation, backbone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from speechssl.audio.log_mel import LogMel
from speechssl.errors import UserError
from speechssl.models.audio_ntt import AudioNTT
from speechssl.models.backbone import Backbone
from speechssl.models.clip_config import BackboneName, ClipConfig
from speechssl.models.efficientnet import EfficientNet
from speechssl.models.encoder import Encoder, EncoderOutput
from speechssl.models.running_norm import RunningNorm
from speechssl.models.vit import VisionTransformer


class ClipEncoder(Encoder):
    """One vector a clip, and the frames that it is made of.

    The only hidden state is the backbone's deepest output. A waveform with fewer than `field_samples` samples is
    padded with zeros on both sides to that many, which make one frame.

    Attributes:
        backbone: from normalised log-mel spectrograms to vectors, for training on views.
        field_samples: samples of the shortest clip that is not padded.
    """

    num_layers = 0

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        # It checks its bands, also where the model is built without storage (torch.device("meta")).
        with torch.device("cpu"):
            self.spectrogram = LogMel(config.log_mel)
        self.norm = RunningNorm(config.norm_updates)
        self.backbone = build_backbone(config)
        self.frame_rate = self.spectrogram.frame_rate / self.backbone.stride
        self.dim = self.backbone.dim
        self.field_samples = (self.backbone.stride - 1) * config.log_mel.hop

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Return the number of frames `(batch,)` of clips of `lengths` `(batch,)` samples; 0 where there are none."""
        frames = self.backbone.frame_counts(self.spectrogram.frames(lengths.clamp(min=self.field_samples)))
        return torch.where(lengths > 0, frames, 0)

    def log_mel(self, waveforms: Tensor) -> Tensor:
        """Return normalised log-mel spectrograms `(batch, mels, frames)` of `waveforms` `(batch, samples)`.

        In training mode the statistics of the normalisation move by one batch, while they still do.
        """
        missing = max(self.field_samples - waveforms.size(1), 0)
        padded = functional.pad(waveforms, (missing // 2, missing - missing // 2))
        normalised: Tensor = self.norm(self.spectrogram(padded))
        return normalised

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None) -> EncoderOutput:
        """Encode a batch of clips.

        Clips of one length are encoded together and apart from the others, so each has the same frames as alone. (In
        training mode each length is a batch of its own for batch norm and for the normalisation, so train on one.)

        Args:
            waveforms: `(batch, samples)`, float32 in [-1, 1], padded with anything.
            lengths: `(batch,)` valid samples; default: all of them.
            mask: none; it is here for the interface.

        Returns:
            One hidden state `(batch, frames, dim)`, zero after a clip's frames; `features` is the same.

        Raises:
            UserError: a clip has no samples.
        """
        if mask is not None:
            raise ValueError("encoders of clips have no mask embedding")
        samples = _samples(waveforms, lengths)
        groups = _equal(samples)
        if len(groups) == 1:
            frames = self.backbone(self.log_mel(waveforms[:, : samples[0]])).frames
            valid = self.frame_lengths(torch.tensor(samples[:1], device=waveforms.device)).expand(len(samples))
            return EncoderOutput([frames], valid, frames)
        encoded = [self.backbone(self.log_mel(waveforms[rows, :length])).frames for length, rows in groups.items()]
        frames = encoded[0].new_zeros(len(samples), max(part.size(1) for part in encoded), self.dim)
        for rows, part in zip(groups.values(), encoded, strict=True):
            frames[rows, : part.size(1)] = part
        valid = self.frame_lengths(torch.tensor(samples, device=waveforms.device))
        return EncoderOutput([frames], valid, frames)

    def pool(self, output: EncoderOutput) -> Tensor:
        """Return `(batch, dim)`: the backbone's own pooling of each clip's frames."""
        frames = output.hidden_states[-1]
        # One number for all, see `forward`. To read it here would wait for all that a GPU has in hand.
        if output.lengths.stride() == (0,):
            return self.backbone.pool(frames)
        pooled = frames.new_zeros(len(frames), self.dim)
        for length, rows in _equal(output.lengths.tolist()).items():
            pooled[rows] = self.backbone.pool(frames[rows, :length])
        return pooled


def build_backbone(config: ClipConfig) -> Backbone:
    """Return the freshly initialised backbone that the settings name.

    Raises:
        UserError: the mel bands do not fit it, or a package that it needs is not installed.
    """
    mels = config.log_mel.num_mels
    if config.backbone is BackboneName.audio_ntt:
        return AudioNTT(mels, config.audio_ntt_dim, config.audio_ntt_dropout)
    if config.backbone is BackboneName.efficientnet_b0:
        return EfficientNet(mels)
    return VisionTransformer(
        mels, config.vit_dim, config.vit_layers, config.vit_heads, config.vit_ffn_dim, config.vit_dropout
    )


def _samples(waveforms: Tensor, lengths: Tensor | None) -> list[int]:
    """Return the samples of each clip."""
    if waveforms.dim() != 2:
        raise ValueError(f"waveforms must be (batch, samples), not {tuple(waveforms.shape)}")
    samples = [waveforms.size(1)] * waveforms.size(0) if lengths is None else lengths.tolist()
    if len(samples) != waveforms.size(0) or max(samples, default=0) > waveforms.size(1):
        raise ValueError(f"lengths {samples} do not fit waveforms {tuple(waveforms.shape)}")
    if not samples:
        raise UserError("the batch holds no clip")
    if min(samples) < 1:
        raise UserError(f"clip {samples.index(min(samples))} of the batch has no samples")
    return samples


def _equal(lengths: list[int]) -> dict[int, list[int]]:
    """Return the rows of each length."""
    groups: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
        groups.setdefault(length, []).append(row)
    return groups
