"""Export as a Hugging Face `HubertModel` folder, also for s3prl's `-u hf_hubert_custom` (320 samples a frame)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl.files import write_json
from speechssl.models.front_end import normalize
from speechssl.models.hubert import HubertEncoder
from speechssl.models.huggingface import to_huggingface_config, to_huggingface_state
from speechssl.models.save import save_tensors

NAME = "huggingface"


def files(folder: Path) -> list[Path]:
    """Return what the export writes into `folder`."""
    return [folder / name for name in ("config.json", "model.safetensors", "preprocessor_config.json")]


def write(encoder: HubertEncoder, heads: dict[str, Tensor] | None, folder: Path) -> None:
    """Write the folder; `HubertModel` has no place for `heads`."""
    config, weights, preprocessor = files(folder)
    state = to_huggingface_state(encoder.config, encoder.state_dict())
    save_tensors(weights, {name: tensor.float() for name, tensor in state.items()})
    write_json(config, to_huggingface_config(encoder.config))
    write_json(
        preprocessor,
        {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "do_normalize": encoder.config.normalize,
            "feature_size": 1,
            "padding_side": "right",
            "padding_value": 0.0,
            # transformers gives models with group norm none: they were trained without. Ours were trained with masks.
            "return_attention_mask": True,
            "sampling_rate": encoder.sample_rate,
        },
    )


def toolkit() -> tuple[Any, Any]:
    """Return transformers' model and feature extractor; a `ModuleNotFoundError` names what is not installed."""
    from transformers import HubertModel, Wav2Vec2FeatureExtractor

    return HubertModel, Wav2Vec2FeatureExtractor


def hidden_states(folder: Path, waveforms: list[Tensor]) -> list[list[Tensor]]:
    """Return what transformers' `HubertModel` gives for each of `waveforms` `(samples,)`: `(1, frames, dim)` a layer.

    The waveforms are normalised as our encoder does. transformers' own feature extractor adds 1e-7 to the variance
    where fairseq adds 1e-5, so that very quiet audio comes out louder there.
    """
    hubert_model, feature_extractor = toolkit()
    model = hubert_model.from_pretrained(folder).eval()
    do_normalize = feature_extractor.from_pretrained(folder).do_normalize
    exported = []
    for waveform in waveforms:
        inputs = normalize(waveform[None, :, None], None)[..., 0] if do_normalize else waveform[None]
        with torch.no_grad():
            exported.append(list(model(inputs, output_hidden_states=True).hidden_states))
    return exported
