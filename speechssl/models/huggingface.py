"""Names and settings of Hugging Face's `HubertModel`, from and to ours; needs no transformers."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from speechssl.errors import UserError
from speechssl.models.hubert_config import HubertConfig

_TO_HUGGINGFACE = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"feature_extractor.conv_layers.\1.conv."),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.(1\.)?", r"feature_extractor.conv_layers.\1.layer_norm."),
    (r"layer_norm\.", "feature_projection.layer_norm."),
    (r"post_extract_proj\.", "feature_projection.projection."),
    (r"encoder\.pos_conv\.0\.weight_g", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"encoder\.pos_conv\.0\.weight_v", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"encoder\.pos_conv\.0\.bias", "encoder.pos_conv_embed.conv.bias"),
    (r"encoder\.layers\.(\d+)\.self_attn\.", r"encoder.layers.\1.attention."),
    (r"encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"encoder.layers.\1.layer_norm."),
    (r"encoder\.layers\.(\d+)\.fc1\.", r"encoder.layers.\1.feed_forward.intermediate_dense."),
    (r"encoder\.layers\.(\d+)\.fc2\.", r"encoder.layers.\1.feed_forward.output_dense."),
    (r"mask_emb$", "masked_spec_embed"),
)
_FIELDS = {
    "num_layers": "num_hidden_layers",
    "dim": "hidden_size",
    "ffn_dim": "intermediate_size",
    "num_heads": "num_attention_heads",
    "conv_norm": "feat_extract_norm",
    "conv_bias": "conv_bias",
    "conv_pos": "num_conv_pos_embeddings",
    "conv_pos_groups": "num_conv_pos_embedding_groups",
    "layer_norm_first": "do_stable_layer_norm",
    "dropout": "hidden_dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "input_dropout": "feat_proj_dropout",
    "layerdrop": "layerdrop",
}
"""Our settings and the names that Hugging Face has for them."""

_FIXED = {
    "model_type": "hubert",
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "feat_proj_layer_norm": True,
    "layer_norm_eps": 1e-5,
}
"""Settings that HuBERT has no choice in."""


def to_huggingface_name(name: str) -> str:
    """Return Hugging Face's name of one of our parameters."""
    for pattern, replacement in _TO_HUGGINGFACE:
        renamed, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            return renamed
    return name


def to_huggingface_state(config: HubertConfig, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return an encoder's `state` by Hugging Face's names.

    Where the convolutions are as wide as the hidden states, fairseq has no projection and Hugging Face always has
    one: it becomes the identity.
    """
    renamed = {to_huggingface_name(name): tensor for name, tensor in state.items()}
    if "feature_projection.projection.weight" not in renamed:
        renamed["feature_projection.projection.weight"] = torch.eye(config.dim)
        renamed["feature_projection.projection.bias"] = torch.zeros(config.dim)
    return renamed


def from_huggingface_state(own_names: list[str], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a Hugging Face `state` by our names.

    A model with a task head keeps HuBERT under `hubert.`: its head is left out. Names that are unknown here stay as
    they are, for the loader to report.
    """
    if any(name.startswith("hubert.") for name in state):
        state = {name.removeprefix("hubert."): tensor for name, tensor in state.items() if name.startswith("hubert.")}
    # Checkpoints from before torch 2 name the two parts of the positional convolution as fairseq does.
    old = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    for name in [name for name in state if name.startswith("encoder.pos_conv_embed.conv.weight_")]:
        prefix, _, part = name.rpartition(".")
        state[f"{prefix}.{old[part]}"] = state.pop(name)
    if "post_extract_proj.weight" not in own_names:
        state = _without_identity(state)
    own = {to_huggingface_name(name): name for name in own_names}
    return {own.get(name, name): tensor for name, tensor in state.items()}


def _without_identity(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out a projection that does nothing: the inverse of what `to_huggingface_state` adds."""
    weight, bias = (state.get(f"feature_projection.projection.{part}") for part in ("weight", "bias"))
    if weight is None or bias is None or not torch.equal(weight, torch.eye(len(weight))) or bias.any():
        return state
    return {name: tensor for name, tensor in state.items() if not name.startswith("feature_projection.projection.")}


def to_huggingface_config(config: HubertConfig) -> dict[str, Any]:
    """Return the content of `config.json`."""
    values: dict[str, Any] = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    for index, name in enumerate(("conv_dim", "conv_kernel", "conv_stride")):
        values[name] = [layer[index] for layer in config.conv_layers]
    return (
        values
        | _FIXED
        | {
            "architectures": ["HubertModel"],
            "final_dropout": config.dropout,
            "torch_dtype": "float32",
        }
    )


def from_huggingface_config(values: dict[str, Any], normalize: bool, where: str) -> HubertConfig:
    """Return our settings for the content of a `config.json`; what HuBERT cannot express is a `UserError`."""
    if (kind := values.get("model_type", _FIXED["model_type"])) != _FIXED["model_type"]:
        raise UserError(f"{where} is of the type '{kind}', not a HuBERT; speechssl evaluate takes it as hf:FOLDER")
    for name, expected in _FIXED.items():
        if values.get(name, expected) != expected:
            raise UserError(f"{where}: {name} is {values[name]!r}; only {expected!r} can be loaded")
    if values.get("conv_pos_batch_norm"):
        raise UserError(f"{where}: conv_pos_batch_norm is true; only models without it can be loaded")
    defaults = to_huggingface_config(HubertConfig())
    values = defaults | values
    layers = zip(values["conv_dim"], values["conv_kernel"], values["conv_stride"], strict=True)
    return HubertConfig(
        conv_layers=[list(layer) for layer in layers],
        normalize=normalize,
        # Hugging Face has no place for it. Those with layer norm (Large, X-Large) were published with 1.
        feature_grad_mult=1.0 if values["feat_extract_norm"] == "layer" else HubertConfig.feature_grad_mult,
        **{ours: values[theirs] for ours, theirs in _FIELDS.items()},
    )
