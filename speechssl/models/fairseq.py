"""The one importer of checkpoints by fairseq's names: s3prl's `hubert_local` format, and fairseq's own."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl.errors import UserError
from speechssl.models.encoder import Encoder
from speechssl.models.hubert_config import HubertConfig

_FIELDS = {
    "num_layers": "encoder_layers",
    "dim": "encoder_embed_dim",
    "ffn_dim": "encoder_ffn_embed_dim",
    "num_heads": "encoder_attention_heads",
    "conv_bias": "conv_bias",
    "feature_grad_mult": "feature_grad_mult",
    "layer_norm_first": "layer_norm_first",
    "conv_pos": "conv_pos",
    "conv_pos_groups": "conv_pos_groups",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "input_dropout": "dropout_input",
    "layerdrop": "encoder_layerdrop",
    "final_dim": "final_dim",
}
"""Our settings and the names that fairseq has for them."""

_NORMS = {"group": "default", "layer": "layer_norm"}
_HEADS = ("final_proj.", "label_embs_concat", "target_glu.")
_OTHERS = ("w2v_encoder.", "quantizer.")
"""Parameters of fine-tuned models, and of wav2vec 2.0."""


class _Dictionary:
    """Stands for `fairseq.data.dictionary.Dictionary`, whose content is not needed; it runs nothing of a checkpoint."""


def read_fairseq_checkpoint(path: Path) -> tuple[HubertConfig, dict[str, Tensor]]:
    """Read a `.pt` file of HuBERT by fairseq or s3prl.

    Returns:
        The settings, and the encoder's weights; the heads of pretraining (`final_proj`, `label_embs_concat`) are left
        out, since an encoder has none.

    Raises:
        UserError: the file is something else, or holds objects that cannot be read without running code of the file.
    """
    checkpoint = _load_safely(path)
    if "model_weight" in checkpoint:
        task, model, state = checkpoint.get("task_cfg"), checkpoint.get("model_cfg"), checkpoint["model_weight"]
    elif "model" in checkpoint and isinstance(checkpoint.get("cfg"), dict):
        task, model, state = checkpoint["cfg"].get("task"), checkpoint["cfg"].get("model"), checkpoint["model"]
        if task is None and model is None:  # WavLM's has settings of its own
            raise UserError(f"{path} is not a pretrained HuBERT; {_ELSEWHERE}")
    else:
        raise UserError(
            f"{path} has neither s3prl's keys (task_cfg, model_cfg, model_weight) nor fairseq's (cfg, model): "
            "give a HuBERT checkpoint of fairseq, or one that s3prl converted"
        )
    if not isinstance(task, dict) or not isinstance(model, dict):
        raise UserError(f"{path}: the configurations of task and model must be plain dictionaries; {_CONVERT}")
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UserError(f"{path}: its weights are not tensors by name; get it again")
    other = next((name for name in state if name.startswith(_OTHERS)), None)
    if other:
        raise UserError(f"{path} holds a parameter '{other}', so it is not a pretrained HuBERT; {_ELSEWHERE}")
    weights = {name: tensor for name, tensor in state.items() if not name.startswith(_HEADS)}
    return config_from_fairseq(model, task, str(path)), weights


def config_from_fairseq(model: dict[str, Any], task: dict[str, Any], where: str) -> HubertConfig:
    """Return our settings for fairseq's; what this encoder cannot express is a `UserError`."""
    for name, expected in {"activation_fn": "gelu", "layer_type": "transformer"}.items():
        if str(model.get(name, expected)) != expected:
            raise UserError(f"{where}: {name} is {model[name]!r}; only {expected!r} can be loaded")
    rate = task.get("sample_rate", Encoder.sample_rate)
    if rate != Encoder.sample_rate:
        raise UserError(f"{where} hears {rate} Hz; only encoders of {Encoder.sample_rate} Hz can be loaded")
    norms = {theirs: ours for ours, theirs in _NORMS.items()}
    mode = str(model.get("extractor_mode", "default"))
    if mode not in norms:
        raise UserError(f"{where}: extractor_mode is {mode!r}; only {' or '.join(norms)} can be loaded")
    values = {ours: model[theirs] for ours, theirs in _FIELDS.items() if theirs in model}
    if values.get("final_dim") == 0:
        # fairseq's way of saying: as wide as the hidden states.
        values["final_dim"] = values.get("dim", HubertConfig.dim)
    if "conv_feature_layers" in model:
        values["conv_layers"] = parse_conv_layers(model["conv_feature_layers"], where)
    return HubertConfig(conv_norm=norms[mode], normalize=bool(task.get("normalize", False)), **values)


def config_to_fairseq(config: HubertConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return fairseq's `(model, task)` settings for ours, both with the frame rate as `label_rate`."""
    model: dict[str, Any] = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    stride = 1
    for _, _, step in config.conv_layers:
        stride *= step
    rate = Encoder.sample_rate / stride
    model |= {
        "label_rate": rate,
        "extractor_mode": _NORMS[config.conv_norm],
        "conv_feature_layers": str([tuple(layer) for layer in config.conv_layers]),
    }
    return model, {"label_rate": rate, "sample_rate": Encoder.sample_rate, "normalize": config.normalize}


def parse_conv_layers(text: str, where: str) -> list[list[int]]:
    """Return the layers of fairseq's `conv_feature_layers`, e.g. `"[(512,10,5)] + [(512,3,2)] * 4"`, without `eval`."""
    layer = r"\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)"
    term = re.compile(rf"\s*\[\s*({layer}(?:\s*,\s*{layer})*)\s*,?\s*\]\s*(?:\*\s*(\d+))?\s*(\+|$)")
    layers: list[list[int]] = []
    position = 0
    while position < len(text):
        match = term.match(text, position)
        if match is None:
            raise UserError(
                f"{where}: conv_feature_layers {text!r} is not a sum of lists of (channels, kernel, stride)"
            )
        found = [[int(number) for number in numbers] for numbers in re.findall(layer, match[1])]
        layers += [list(numbers) for _ in range(int(match[8] or 1)) for numbers in found]
        position = match.end()
    return layers


_CONVERT = (
    "of a HuBERT, where fairseq and s3prl are installed, load_and_convert_fairseq_ckpt(source, target) of "
    "s3prl.upstream.hubert.convert writes a file that can be loaded here"
)

_ELSEWHERE = "speechssl evaluate takes other models as s3prl:NAME?ckpt=FILE, where s3prl has an upstream of that kind"


def _no_checkpoint(path: Path) -> str:
    what = "give the folder that it is in" if path.suffix == ".safetensors" else "get it again"
    return f"{path} is not a torch checkpoint, or is cut off; {what}"


def _load_safely(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        if not file.read(2).startswith((b"PK", b"\x80")):  # a zip, or before torch 1.6 a pickle
            raise UserError(_no_checkpoint(path))
    try:
        with torch.serialization.safe_globals([(_Dictionary, "fairseq.data.dictionary.Dictionary")]):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"the object {found[1]}" if found else "something"
        raise UserError(
            f"{path} holds {what} that cannot be read without running code of the file; {_CONVERT}"
        ) from error
    except OSError:
        raise
    except Exception as error:  # bytes that are no pickle end in any error
        raise UserError(_no_checkpoint(path)) from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint of fairseq or s3prl")
    return checkpoint
