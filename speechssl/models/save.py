"""The encoder folder: `encoder.json`, `encoder.safetensors`, and the heads of pretraining beside them."""

from __future__ import annotations

import dataclasses
import json
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
    file, heads, info = (folder / name for name in ("encoder.json", "heads.safetensors", "heads.json"))
    description = _describe(encoder)
    # A folder that holds encoder.json can be loaded at any time. The same description stays while weights are replaced.
    stays = _read(file) == description
    if not stays:
        for path in (file, heads, info):
            path.unlink(missing_ok=True)
    save_tensors(folder / "encoder.safetensors", encoder.state_dict())
    if heads_state is not None:
        save_tensors(heads, heads_state)
    else:
        heads.unlink(missing_ok=True)
    # It tells the update that all the others are of.
    if heads_info is not None:
        write_json(info, heads_info)
    else:
        info.unlink(missing_ok=True)
    if not stays:
        write_json(file, description)


def _read(description: Path) -> Any:
    """Return what an `encoder.json` holds; nothing of one that is missing or broken."""
    try:
        return json.loads(description.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _describe(encoder: HubertEncoder | ClipEncoder) -> dict[str, Any]:
    """Return the content of `encoder.json`. Folders written before there were two kinds name none: HuBERT."""
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "kind": CLIP if isinstance(encoder, ClipEncoder) else HUBERT,
        "speechssl": __version__,
        "sample_rate": encoder.sample_rate,
        "frame_rate": encoder.frame_rate,
        "config": dataclasses.asdict(encoder.config),
    }


def save_tensors(path: Path, state: dict[str, Tensor]) -> None:
    """Write tensors as safetensors, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})
