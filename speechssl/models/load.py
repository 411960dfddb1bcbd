"""Encoders from disk: our own folders, Hugging Face folders, checkpoints of fairseq and s3prl.

Needs torch, numpy, soundfile and safetensors only (for `efficientnet_b0` torchvision too). Nothing of a file is run:
weights are read with safetensors, or with torch's `weights_only`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from speechssl.audio.log_mel import LogMelSettings
from speechssl.errors import UserError, nearest
from speechssl.files import read_json, require_file
from speechssl.models.clip_config import BackboneName, ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.encoder import Encoder
from speechssl.models.fairseq import read_fairseq_checkpoint
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import HubertConfig
from speechssl.models.huggingface import from_huggingface_config, from_huggingface_state
from speechssl.models.save import CLIP, FORMAT, FORMAT_VERSION, HUBERT

logger = logging.getLogger(__name__)


def load_encoder(path: str | Path) -> Encoder:
    """Load an encoder, in evaluation mode, on the CPU.

    Args:
        path: an encoder folder (`encoder.json`); a run folder that holds one as `encoder/`; a Hugging Face
            `HubertModel` folder (`config.json`, `model.safetensors`); or a checkpoint `.pt` of fairseq or s3prl.

    Returns:
        The encoder, a `HubertEncoder` or a `ClipEncoder`: `output = encoder(waveforms, lengths)`,
        `output.hidden_states`, `encoder.pool(output)`, `encoder.sample_rate`, `encoder.frame_rate`.

    Raises:
        UserError: there is no encoder at `path`, its format is newer than this version, or its weights do not fit its
            configuration (the parameter is named).
    """
    path = Path(path)
    if path.is_file():
        with _described_by(path):
            config, state = read_fairseq_checkpoint(path)
        return _fill(_without_storage(config), state, str(path))
    folder = _own_folder(path)
    if folder is not None:
        return _load_own(folder)
    if (path / "config.json").is_file():
        return _load_huggingface(path)
    what = "holds no encoder" if path.is_dir() else "does not exist"
    raise UserError(
        f"{path} {what}: give an encoder folder (encoder.json), a finished run folder (encoder/), "
        "a Hugging Face HubertModel folder (config.json), or a fairseq or s3prl checkpoint (.pt)"
    )


def encoder_files(path: str | Path) -> list[Path]:
    """Return the files whose change means another encoder: weights, configuration and heads.

    Args:
        path: as :func:`load_encoder` takes it. One that is no folder is returned itself, whether it is there or not.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    folder = _own_folder(path) or path
    # pathlib finds hidden files, too: what a killed command had begun to write.
    return sorted(file for pattern in ("[!.]*.json", "[!.]*.safetensors") for file in folder.glob(pattern))


def load_heads(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the pretraining heads `(weights, description)` of an encoder or run folder, `None` where it has none."""
    folder = Path(path)
    folder = folder if (folder / "encoder.json").is_file() else folder / "encoder"
    if not (folder / "heads.safetensors").is_file():
        return None
    return read_tensors(folder / "heads.safetensors"), read_json(folder / "heads.json")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; a missing or broken one is a `UserError`."""
    try:
        return load_file(require_file(path))
    except SafetensorError as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}); get or make it again") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file of names and values; a missing or broken one, or one of something else, is a `UserError`."""
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is not the description of an encoder; get or make the folder again")
    return values


@contextlib.contextmanager
def _described_by(where: str | Path) -> Iterator[None]:
    """Raise a `UserError` that names `where` if its values are not of the types that settings have."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where} is not the description of an encoder ({error}); get or make it again") from error


def _own_folder(path: Path) -> Path | None:
    """Return the folder with `encoder.json`, of an encoder folder or a run folder; None where there is none."""
    return next((folder for folder in (path, path / "encoder") if (folder / "encoder.json").is_file()), None)


def _load_own(folder: Path) -> Encoder:
    description = read_object(folder / "encoder.json")
    where = str(folder / "encoder.json")
    if not isinstance(description.get("config"), dict):
        raise UserError(f"{where} is not the description of an encoder; get or make the folder again")
    if description.get("format") != FORMAT:
        raise UserError(f"{where} is not an encoder of speechssl (format {description.get('format')!r})")
    if description.get("version") != FORMAT_VERSION:
        raise UserError(
            f"{where} has format version {description.get('version')}, this version of speechssl reads "
            f"{FORMAT_VERSION}: install the speechssl that wrote it ({description.get('speechssl', 'unknown')})"
        )
    if (rate := description.get("sample_rate", Encoder.sample_rate)) != Encoder.sample_rate:
        raise UserError(f"{where} is of an encoder of {rate} Hz; only those of {Encoder.sample_rate} Hz can be loaded")
    with _described_by(where):
        encoder = _without_storage(_own_config(description, where))
    return _fill(encoder, read_tensors(folder / "encoder.safetensors"), str(folder / "encoder.safetensors"))


def _own_config(description: dict[str, Any], where: str) -> HubertConfig | ClipConfig:
    """Return the settings that an `encoder.json` holds."""
    # Folders written before there were two kinds name none.
    kind, config = description.get("kind", HUBERT), description["config"]
    if kind == HUBERT:
        _check_names(HubertConfig, config, where)
        return HubertConfig(**config)
    if kind == CLIP:
        return _clip_config(config, where)
    raise UserError(
        f"{where} is of the kind '{kind}', which this version of speechssl does not know (known: {HUBERT}, {CLIP}): "
        f"install the speechssl that wrote it ({description.get('speechssl', 'unknown')})"
    )


def _clip_config(values: dict[str, Any], where: str) -> ClipConfig:
    values = {**dataclasses.asdict(ClipConfig()), **values}
    _check_names(ClipConfig, values, where)
    _check_names(LogMelSettings, values["log_mel"], where)
    known = [name.value for name in BackboneName]
    if values["backbone"] not in known:
        raise UserError(f"{where} has an unknown backbone '{values['backbone']}'{nearest(values['backbone'], known)}")
    changes = {"backbone": BackboneName(values["backbone"]), "log_mel": LogMelSettings(**values["log_mel"])}
    return ClipConfig(**{**values, **changes})


def _check_names(settings: type, values: dict[str, Any], where: str) -> None:
    known = [field.name for field in dataclasses.fields(settings)]
    for name in values:
        if name not in known:
            raise UserError(f"{where} has an unknown setting '{name}'{nearest(name, known)}")


def _load_huggingface(folder: Path) -> Encoder:
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{folder} has no model.safetensors: save the model with safe_serialization=True")
    values = read_object(folder / "config.json")
    # Without a preprocessor_config.json transformers would normalise by default; HuBERT Base must not.
    preprocessor = read_object(folder / "preprocessor_config.json")
    normalize = preprocessor.get("do_normalize", True)
    if (rate := preprocessor.get("sampling_rate", Encoder.sample_rate)) != Encoder.sample_rate:
        raise UserError(f"{folder} hears {rate} Hz; only encoders of {Encoder.sample_rate} Hz can be loaded")
    with _described_by(folder / "config.json"):
        config = from_huggingface_config(values, normalize, str(folder / "config.json"))
        encoder = _without_storage(config)
    state = from_huggingface_state(list(encoder.state_dict()), read_tensors(folder / "model.safetensors"))
    if "mask_emb" not in state:
        # transformers leaves it out of models that never mask, and some published ones never had it.
        state["mask_emb"] = torch.zeros(config.dim)
        logger.info("%s has no embedding of masked frames: zeros take its place", folder)
    return _fill(encoder, state, str(folder / "model.safetensors"))


def _fill(encoder: Encoder, state: dict[str, Tensor], where: str) -> Encoder:
    """Return the encoder with `state` in it; a configuration that does not fit is one line that names the parameter."""
    own = encoder.state_dict()
    for name in state:
        if name not in own:
            raise UserError(f"{where} holds a parameter '{name}' that its configuration has no place for")
    for name, tensor in own.items():
        if name not in state:
            raise UserError(f"{where} lacks the parameter '{name}' that its configuration asks for")
        if tensor.shape != state[name].shape:
            raise UserError(
                f"{where}: the parameter '{name}' is {tuple(state[name].shape)}, its configuration asks for "
                f"{tuple(tensor.shape)}"
            )
    # Counters stay whole numbers.
    state = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    encoder.load_state_dict(state, assign=True)
    return encoder.eval()


def _without_storage(config: HubertConfig | ClipConfig) -> Encoder:
    with torch.device("meta"):
        return HubertEncoder(config) if isinstance(config, HubertConfig) else ClipEncoder(config)
