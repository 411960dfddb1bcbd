"""Export for s3prl's `-u hubert_local -k model.pt`: plain dictionaries, fairseq's names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl.files import whole_file
from speechssl.models.fairseq import config_to_fairseq
from speechssl.models.hubert import HubertEncoder
from speechssl.s3prl_patches import guarded_s3prl

NAME = "s3prl"

STRIDE = 320
"""Samples of a frame that s3prl's HuBERT experts answer with, whatever the convolutions are."""


def files(folder: Path) -> list[Path]:
    """Return what the export writes into `folder`."""
    return [folder / "model.pt"]


def write(encoder: HubertEncoder, heads: dict[str, Tensor] | None, folder: Path) -> None:
    """Write `model.pt`.

    s3prl loads strictly, and its model always has a `final_proj`: that of `heads`, or zeros. With
    `dictionaries_symbols=[None]` it has no label embeddings.
    """
    model, task = config_to_fairseq(encoder.config)
    shape = (encoder.config.final_dim, encoder.config.dim)
    weights = {name: tensor.float() for name, tensor in encoder.state_dict().items()}
    for name, zeros in (("final_proj.weight", torch.zeros(shape)), ("final_proj.bias", torch.zeros(shape[0]))):
        head = (heads or {}).get(name, zeros)
        # Several label sets have a wider projection; s3prl's model has room for one.
        weights[name] = head[: shape[0]].float()
    checkpoint = {"task_cfg": task, "model_cfg": model, "model_weight": weights, "dictionaries_symbols": [None]}
    (path,) = files(folder)
    with whole_file(path) as temporary:
        torch.save(checkpoint, temporary)


def toolkit() -> Callable[..., Any]:
    """Return s3prl's own `hubert_local`; a `ModuleNotFoundError` names a package that is not installed."""
    with guarded_s3prl():
        from s3prl.upstream.hubert.hubconf import hubert_local

    loader: Callable[..., Any] = hubert_local
    return loader


def hidden_states(folder: Path, waveforms: list[Tensor]) -> list[list[Tensor]]:
    """Return what s3prl's own `hubert_local` gives for each of `waveforms` `(samples,)`: `(1, frames, dim)` a layer."""
    (path,) = files(folder)
    hubert_local = toolkit()
    with guarded_s3prl():
        upstream = hubert_local(ckpt=str(path)).eval()
    with torch.no_grad():
        return [list(upstream([waveform])["hidden_states"]) for waveform in waveforms]
