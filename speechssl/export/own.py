"""Export as an encoder folder of our own: the weights without the training run, for `speechssl.load_encoder`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import load_encoder
from speechssl.models.save import save_encoder

NAME = "speechssl"


def files(folder: Path) -> list[Path]:
    """Return what the export writes into `folder`."""
    return [folder / name for name in ("encoder.json", "encoder.safetensors")]


def write(encoder: HubertEncoder | ClipEncoder, heads: dict[str, Tensor] | None, folder: Path) -> None:
    """Write the folder, without the `heads` of pretraining."""
    save_encoder(folder, encoder)


def hidden_states(folder: Path, waveforms: list[Tensor]) -> list[list[Tensor]]:
    """Return what the loaded encoder gives for each of `waveforms` `(samples,)`: `(1, frames, dim)` a layer."""
    encoder = load_encoder(folder)
    with torch.no_grad():
        return [encoder(waveform[None]).hidden_states for waveform in waveforms]
