"""Models of transformers from a local folder: `hf:FOLDER`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from speechssl.audio import SAMPLE_RATE
from speechssl.errors import UserError
from speechssl.evaluation.encoders.foreign import ForeignEncoder
from speechssl.models.encoder import Encoder
from speechssl.models.load import load_encoder, read_object

PREFIX = "hf:"

_HUBERT = "hubert"
"""`model_type` of the models that `load_encoder` reads."""
_MASK_EMBEDDING = "masked_spec_embed"
_VARIANCE_FLOOR = 1e-7
"""As in transformers' feature extractor."""


class HuggingFaceEncoder(ForeignEncoder):
    """A model of transformers that takes waveforms into strided convolutions, as wav2vec 2.0 does.

    Args:
        model: e.g. a `Wav2Vec2Model`.
        do_normalize: whether each waveform is brought to mean 0 and variance 1.
    """

    def __init__(self, model: Any, do_normalize: bool) -> None:
        super().__init__()
        self.model = model
        self.do_normalize = do_normalize
        self.convolutions = list(zip(model.config.conv_kernel, model.config.conv_stride, strict=True))
        self.num_layers = model.config.num_hidden_layers
        self.dim = model.config.hidden_size
        self.frame_rate = SAMPLE_RATE / math.prod(model.config.conv_stride)

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Return the frames that the convolutions leave."""
        for kernel, stride in self.convolutions:
            lengths = ((lengths - kernel) // stride + 1).clamp(min=0)
        return lengths

    def encode(self, waveforms: Tensor) -> list[Tensor]:
        """Return the hidden states of waveforms of one length."""
        if self.do_normalize:
            waveforms = F.layer_norm(waveforms, waveforms.shape[1:], eps=_VARIANCE_FLOOR)
        return list(self.model(waveforms, output_hidden_states=True).hidden_states)


def load_huggingface(source: str) -> Encoder:
    """Return the encoder of a local folder, in evaluation mode, on the CPU.

    A HuBERT becomes our own `HubertEncoder`; any other model stays transformers' own. Weights are read from
    safetensors only, no code of the folder is run, and nothing is downloaded.

    Args:
        source: `hf:FOLDER`, as `save_pretrained` writes it: config.json, preprocessor_config.json, model.safetensors.

    Raises:
        UserError: there is no such folder, it is incomplete, or its model is not of this kind.
    """
    folder = _folder(source)
    config = read_object(folder / "config.json")
    if config.get("model_type") == _HUBERT:
        return load_encoder(folder)
    preprocessor = read_object(folder / "preprocessor_config.json")
    if preprocessor.get("sampling_rate", SAMPLE_RATE) != SAMPLE_RATE:
        raise UserError(f"{source} wants {preprocessor['sampling_rate']} Hz; only models of {SAMPLE_RATE} Hz fit here")
    if "conv_stride" not in config:
        raise UserError(
            f"{source} is a model of the type '{config.get('model_type')}': only those like wav2vec 2.0 fit"
        )
    encoder = HuggingFaceEncoder(_load_model(folder, source), bool(preprocessor.get("do_normalize", True)))
    _try_out(encoder, source)
    return encoder


def huggingface_files(source: str) -> Iterator[Path]:
    """Yield the files of the folder that a model is read from."""
    folder = _folder(source)
    # Files that a killed command had begun to write are hidden, which pathlib would find.
    yield from sorted([*folder.glob("[!.]*.json"), *folder.glob("[!.]*.safetensors")])


def _folder(source: str) -> Path:
    folder = Path(source.removeprefix(PREFIX)).expanduser()
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{source}: {folder} has no config.json; give a local folder, as save_pretrained writes it "
            "(nothing is downloaded)"
        )
    return folder


def _load_model(folder: Path, source: str) -> Any:
    try:
        from transformers import AutoModel
    except ModuleNotFoundError as error:
        raise UserError(f"{source} needs the package '{error.name}': pip install -e '.[export]'") from error
    try:
        model, report = AutoModel.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        message = " ".join(str(error).split())[:300]
        raise UserError(f"{source} cannot be loaded by transformers: {message}") from error
    missing = sorted(report["missing_keys"])
    if _MASK_EMBEDDING in missing:
        # wav2vec2-base-960h, for one, has none. Nothing is masked here; random numbers would make it another each time.
        missing.remove(_MASK_EMBEDDING)
        torch.nn.init.zeros_(model.masked_spec_embed)
    if missing:
        raise UserError(f"{source} lacks {len(missing)} parameters, the first is {missing[0]}; get the model again")
    return model.eval()


@torch.no_grad()
def _try_out(encoder: HuggingFaceEncoder, source: str) -> None:
    """Compare one second's hidden states with what is expected of them."""
    frames = int(encoder.frame_lengths(torch.tensor([SAMPLE_RATE])))
    shapes = {tuple(state.shape) for state in encoder.encode(torch.zeros(1, SAMPLE_RATE))}
    if shapes != {(1, frames, encoder.dim)}:
        raise UserError(f"{source}: its hidden states are not {frames} frames of {encoder.dim} numbers for a second")
