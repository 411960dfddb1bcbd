"""The encoder folder: `encoder.json`, `encoder.safetensors`, and the heads of pretraining beside them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from speechssl import __version__
from speechssl.files import whole_file, write_json
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.hubert import HubertEncoder

FORMAT = "speechssl-encoder"
FORMAT_VERSION = 1

HUBERT = "hubert"
CLIP = "clip"


def save_encoder(
    folder: str | Path,
    encoder: HubertEncoder | ClipEncoder,
    heads_state: dict[str, Tensor] | None = None,
    heads_info: dict[str, Any] | None = None,
) -> None:
    """Write an encoder folder, for :func:`speechssl.models.load.load_encoder`.

    Args:
        folder: made if need be; an encoder that it holds is replaced.
        encoder: the weights are written in their own precision, a HuBERT encoder's by fairseq's names.
        heads_state: weights of the pretraining heads: `final_proj.weight`, `final_proj.bias`, `label_embs_concat` for
            the first label set, anything else under `extra.`.
        heads_info: what they are, as JSON: `label_sets`, `k`, `frame_rate`, `kmeans_sha256`, `layer` (the hidden state
            that the first label set's head reads), `logit_temperature`.
    """
    folder = Path(folder)
    description = folder / "encoder.json"
    # Written last and removed first: a folder that holds it is complete.
    description.unlink(missing_ok=True)
    save_tensors(folder / "encoder.safetensors", encoder.state_dict())
    for name in ("heads.safetensors", "heads.json"):
        (folder / name).unlink(missing_ok=True)
    if heads_state is not None:
        save_tensors(folder / "heads.safetensors", heads_state)
    if heads_info is not None:
        write_json(folder / "heads.json", heads_info)
    write_json(description, _describe(encoder))


def _describe(encoder: HubertEncoder | ClipEncoder) -> dict[str, Any]:
    """Return the content of `encoder.json`. Folders written before there were two kinds name none: HuBERT."""
    description = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "kind": CLIP if isinstance(encoder, ClipEncoder) else HUBERT,
        "speechssl": __version__,
        "sample_rate": encoder.sample_rate,
        "frame_rate": encoder.frame_rate,
        "config": dataclasses.asdict(encoder.config),
    }
    if isinstance(encoder, HubertEncoder):
        description["normalize"] = encoder.config.normalize
    return description


def save_tensors(path: Path, state: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
