"""HuBERT's encoder (arXiv 2106.07447) in plain torch, with fairseq's parameter names, batch-invariant.

A fairseq checkpoint's weights load as they are, apart from its heads (`final_proj`, `label_embs_concat`). fairseq's
`dropout_features` has no counterpart: it acts on a copy of the features that HuBERT's loss never reads.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechssl.errors import UserError
from speechssl.models.encoder import Encoder, EncoderOutput
from speechssl.models.front_end import FbankFrontEnd, WaveformFrontEnd, frame_mask
from speechssl.models.hubert_config import HubertConfig, size_config
from speechssl.models.transformer import Transformer
from speechssl.transfer import moved

__all__ = [
    "HubertConfig",
    "HubertEncoder",
    "hubert_base",
    "hubert_fast",
    "hubert_large",
    "hubert_small",
    "hubert_tiny",
    "hubert_xlarge",
]


FRAME_GRID = 8
"""See :meth:`HubertEncoder._frame_grid`."""


class HubertEncoder(Encoder):
    """Front end, masking and transformer; the heads of pretraining are not part of it.

    An utterance's hidden states are the same alone and padded in a batch.
    """

    def __init__(self, config: HubertConfig):
        super().__init__()
        self.config = config
        self.feature_extractor: WaveformFrontEnd | FbankFrontEnd = (
            WaveformFrontEnd(config) if config.front_end == "waveform" else FbankFrontEnd(config)
        )
        channels = self.feature_extractor.channels
        self.layer_norm = nn.LayerNorm(channels)
        # fairseq projects only where the widths differ.
        self.post_extract_proj = nn.Linear(channels, config.dim) if channels != config.dim else None
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.mask_emb = nn.Parameter(torch.rand(config.dim))
        self.cls_emb = nn.Parameter(torch.rand(config.dim)) if config.cls_frame else None
        self.encoder = Transformer(config)
        self.frame_rate = self.sample_rate / self.feature_extractor.samples_per_frame
        self.num_layers = config.num_layers
        self.dim = config.dim
        self.min_samples = self._find_min_samples()

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Return the number of frames `(batch,)` of utterances of `lengths` `(batch,)` samples; 0 where too short."""
        return self.feature_extractor.frame_lengths(lengths)

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None, mask: Tensor | None = None) -> EncoderOutput:
        """Encode a batch.

        Args:
            waveforms: `(batch, samples)`, float32 in [-1, 1], padded with anything (not even numbers, if need be).
            lengths: `(batch,)` valid samples; default: all of them.
            mask: `(batch, frames)`, true where the frame is replaced by the mask embedding; `frames` is
                `frame_lengths(lengths).max()`.

        Raises:
            UserError: an utterance has fewer than `min_samples` samples.
        """
        waveforms, samples = self._crop(waveforms, lengths)
        sizes = torch.tensor(samples)
        frames = self.frame_lengths(sizes)
        self._check_lengths(samples, frames)
        padded = min(samples) != max(samples)
        features = self.feature_extractor(waveforms, samples if padded else None)
        if mask is not None and mask.shape != features.shape[:2]:
            raise ValueError(f"the mask is {tuple(mask.shape)}, the frames are {tuple(features.shape[:2])}")
        spare = -features.size(1) % self._frame_grid(features)
        if self.layer_norm.weight.dtype is not torch.float32:  # filterbanks are float32, whatever the weights are
            features = features.to(self.layer_norm.weight.dtype)
        x = self.layer_norm(F.pad(features, (0, 0, 0, spare)))
        if self.post_extract_proj is not None:
            x = self.post_extract_proj(x)
        x = self.input_dropout(x)
        if mask is not None:
            x = torch.where(F.pad(mask, (0, spare))[..., None], self.mask_emb.to(x.dtype), x)
        valid = frame_mask(frames.tolist(), x.size(1), x.device) if padded or spare else None
        hidden_states, cls = self._transform(x, valid)
        hidden_states = [hidden[:, : features.size(1)] for hidden in hidden_states]
        return EncoderOutput(hidden_states, moved(frames, waveforms.device), features, cls)

    def _frame_grid(self, features: Tensor) -> int:
        """Return a number of which the number of frames is made a multiple; the frames added are padding.

        On a CPU, oneDNN compiles a bf16 product anew for every shape: batches whose lengths all differ train at two
        thirds of the speed of batches of few lengths.
        """
        on_cpu_in_bf16 = features.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        return FRAME_GRID if self.training and on_cpu_in_bf16 else 1

    def _transform(self, x: Tensor, valid: Tensor | None) -> tuple[list[Tensor], list[Tensor] | None]:
        """Return the hidden states of the frames, and of the CLS frame where there is one."""
        if self.cls_emb is None:
            return self.encoder(x, valid), None
        x = torch.cat([self.cls_emb.to(x.dtype).expand(x.size(0), 1, -1), x], dim=1)
        valid = None if valid is None else F.pad(valid, (1, 0), value=True)
        hidden_states = self.encoder(x, valid)
        return [hidden[:, 1:] for hidden in hidden_states], [hidden[:, 0] for hidden in hidden_states]

    def _crop(self, waveforms: Tensor, lengths: Tensor | None) -> tuple[Tensor, list[int]]:
        """Return the waveforms without what lies after the longest, and zero after each; and their lengths."""
        if waveforms.dim() != 2:
            raise ValueError(f"waveforms must be (batch, samples), not {tuple(waveforms.shape)}")
        if lengths is None:
            return waveforms, [waveforms.size(1)] * waveforms.size(0)
        samples = lengths.tolist()
        if len(samples) != waveforms.size(0) or max(samples, default=0) > waveforms.size(1):
            raise ValueError(f"lengths {samples} do not fit waveforms {tuple(waveforms.shape)}")
        waveforms = waveforms[:, : max(samples)]
        if min(samples) != max(samples):
            waveforms = waveforms.masked_fill(~frame_mask(samples, waveforms.size(1), waveforms.device), 0.0)
        return waveforms, samples

    def _check_lengths(self, samples: list[int], frames: Tensor) -> None:
        if not samples:
            raise UserError("the batch holds no utterance")
        if int(frames.min()) < 1:
            index = int(frames.argmin())
            raise UserError(
                f"utterance {index} of the batch has {samples[index]} samples: "
                f"the encoder needs at least {self.min_samples} ({self.min_samples / self.sample_rate:.3f} s)"
            )

    def _find_min_samples(self) -> int:
        """Return the fewest samples that make one frame, by bisection."""
        low, high = 0, self.sample_rate
        while not self._makes_a_frame(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._makes_a_frame(middle) else (middle, high)
        return high

    def _makes_a_frame(self, samples: int) -> bool:
        # On the CPU also where the model is built without storage (torch.device("meta")).
        return int(self.frame_lengths(torch.tensor([samples], device="cpu"))[0]) >= 1


def hubert_base(**changes: Any) -> HubertEncoder:
    """Build HuBERT Base: 12 x 768, post-LN, 94 M parameters (arXiv 2106.07447, table 1).

    `changes` are settings of :class:`HubertConfig`; the weights are random.
    """
    return HubertEncoder(size_config("base", **changes))


def hubert_large(**changes: Any) -> HubertEncoder:
    """Build HuBERT Large: 24 x 1024, pre-LN, 315 M parameters (arXiv 2106.07447, table 1).

    `changes` are settings of :class:`HubertConfig`; the weights are random.
    """
    return HubertEncoder(size_config("large", **changes))


def hubert_xlarge(**changes: Any) -> HubertEncoder:
    """Build HuBERT X-Large: 48 x 1280, pre-LN, 962 M parameters (arXiv 2106.07447, table 1).

    `changes` are settings of :class:`HubertConfig`; the weights are random.
    """
    return HubertEncoder(size_config("xlarge", **changes))


def hubert_small(**changes: Any) -> HubertEncoder:
    """Build half of Base's width, narrower convolutions, 24 M parameters (a size of this project).

    `changes` are settings of :class:`HubertConfig`; the weights are random.
    """
    return HubertEncoder(size_config("small", **changes))


def hubert_tiny(**changes: Any) -> HubertEncoder:
    """Build 6 x 256 on stacked fbank at 25 frames a second, 5 M parameters, for two CPU cores (a size of this project).

    `changes` are settings of :class:`HubertConfig`; the weights are random.
    """
    return HubertEncoder(size_config("tiny", **changes))


def hubert_fast(**changes: Any) -> HubertEncoder:
    """Build Fast-HuBERT: Base on 80-d fbank at 25 frames a second (arXiv 2309.13860).

    `changes` are settings of :class:`HubertConfig`; the weights are random.
    """
    return HubertEncoder(size_config("fast", **changes))
