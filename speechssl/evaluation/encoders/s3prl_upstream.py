"""Encoders of ours as an upstream of s3prl, registered from outside: no file of s3prl is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechssl.errors import UserError
from speechssl.evaluation.encoders.sources import load_source
from speechssl.evaluation.extract import padded
from speechssl.models.encoder import Encoder
from speechssl.s3prl_patches import guarded_s3prl

NAME = "speechssl"
"""What s3prl calls the upstream."""


def register() -> None:
    """Make s3prl know the upstream `speechssl`, whose `ckpt` is whatever an evaluation takes as an encoder.

    Also makes s3prl importable beside a torchaudio that lacks what it calls. After that

        S3PRLUpstream("speechssl", path_or_url="exp/mine/hubert-seed1")

    works as for any upstream of s3prl, and so does all that s3prl builds on it.

    Raises:
        UserError: s3prl is not installed.
    """
    try:
        with guarded_s3prl():
            from s3prl import hub
    except ModuleNotFoundError as error:
        raise UserError(f"s3prl needs the package '{error.name}': pip install -e '.[superb]'") from error
    setattr(hub, NAME, speechssl)


def speechssl(ckpt: str, refresh: bool = False, **unknown: Any) -> Upstream:
    """Return the upstream of an encoder, as the entries of s3prl do.

    Args:
        ckpt: run folder, export, `hf:FOLDER`, checkpoint of fairseq: see `encoders` of `speechssl evaluate`.
        refresh: s3prl passes it; nothing is downloaded, so it changes nothing.
        unknown: refused.

    Raises:
        UserError: there is no such encoder, or an option is given that an encoder does not have.
    """
    if unknown:
        raise UserError(f"the upstream {NAME} has the option ckpt alone, not {', '.join(unknown)}")
    return Upstream(load_source(ckpt))


class Upstream(nn.Module):
    """An encoder as s3prl's tasks call one.

    There is a frame for each `stride` samples begun, as s3prl counts them. An encoder often has a few less of an
    utterance: its last one is then repeated, so that no hidden state depends on the utterances beside it.

    Args:
        encoder: any of ours; its weights learn where s3prl's training lets them.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.stride = round(encoder.sample_rate / encoder.frame_rate)

    def forward(self, waveforms: Sequence[Tensor]) -> dict[str, Any]:
        """Return `hidden_states`, `(batch, frames, dim)` each, of waveforms `(samples,)` each, and the last of them.

        Raises:
            UserError: a waveform is too short for a frame.
        """
        batch, lengths = padded(waveforms, waveforms[0].device)
        output = self.encoder(batch, lengths)
        if bool((output.lengths < 1).any()):
            shortest = int(lengths.min())
            raise UserError(f"an utterance of {shortest} samples is too short for a frame of the encoder: leave it out")
        frames = -(-batch.size(1) // self.stride)
        states = [_fitted(state, output.lengths, frames) for state in output.hidden_states]
        return {"hidden_states": states, "last_hidden_state": states[-1]}

    def get_downsample_rates(self, key: str) -> int:
        """Return the samples of a frame, which all hidden states share."""
        return self.stride


def _fitted(state: Tensor, lengths: Tensor, frames: int) -> Tensor:
    """Return `(batch, frames, dim)` of a hidden state, with each utterance's last valid frame in those after it."""
    places = torch.arange(frames, device=state.device).minimum(lengths[:, None].to(state.device) - 1)
    return state.gather(1, places[:, :, None].expand(-1, -1, state.size(2)))
