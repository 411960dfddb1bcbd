"""Upstreams of s3prl by name: `s3prl:NAME`, or `s3prl:NAME?option=value&option=value`."""

from __future__ import annotations

import inspect
import logging
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import torch
from torch import Tensor

from speechssl.audio import SAMPLE_RATE
from speechssl.errors import UserError, nearest
from speechssl.evaluation.encoders.foreign import ForeignEncoder
from speechssl.s3prl_patches import guarded_s3prl

PREFIX = "s3prl:"

_FILES = ("ckpt", "model_config", "options_config", "config")
"""Options of s3prl's upstreams that name a file."""
_OF_TRANSFORMERS = ("hf_hubert_custom", "hf_wav2vec2_custom")
"""Upstreams that are transformers' own models."""
_NUMBER = re.compile(r"[+-]?(\d+|\d*\.\d+|\d+\.)(e[+-]?\d+)?", re.IGNORECASE)

logger = logging.getLogger(__name__)


class S3prlEncoder(ForeignEncoder):
    """An upstream of s3prl.

    Its hidden states are those of s3prl's tasks: a frame each `stride` samples, also for the samples left over at the
    end. Hidden states of another width or frame rate than the last one have no place in our interface: they are left
    out, and said.

    Args:
        upstream: a `s3prl.nn.S3PRLUpstream`.
        source: what it was asked for by.
    """

    def __init__(self, upstream: Any, source: str) -> None:
        super().__init__()
        self.upstream = upstream
        self.source = source
        shapes = list(zip(upstream.downsample_rates, upstream.hidden_sizes, strict=True))
        self.stride, self.dim = shapes[-1]
        self.kept = [number for number, shape in enumerate(shapes) if shape == shapes[-1]]
        self.num_layers = len(self.kept) - 1
        self.frame_rate = SAMPLE_RATE / self.stride
        left_out = [str(number) for number in range(len(shapes)) if number not in self.kept]
        if left_out:
            logger.warning(
                "%s: hidden states %s of %d have another width or frame rate than the last one and are left out",
                source, ", ".join(left_out), len(shapes),
            )  # fmt: skip

    def frame_lengths(self, lengths: Tensor) -> Tensor:
        """Return one frame for each `stride` samples begun."""
        return (lengths + self.stride - 1) // self.stride

    def encode(self, waveforms: Tensor) -> list[Tensor]:
        """Return the hidden states of waveforms of one length.

        Raises:
            UserError: the upstream gives a number of frames that s3prl cannot bring in line, as for very short audio.
        """
        lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
        try:
            states, _ = self.upstream(waveforms, lengths)
        except AssertionError as error:
            raise UserError(
                f"{self.source} cannot encode {waveforms.shape[1]} samples: its frames do not fit them ({error}); "
                "leave such short recordings out"
            ) from error
        return [states[number] for number in self.kept]


def load_s3prl(source: str) -> S3prlEncoder:
    """Return an upstream of s3prl, in evaluation mode, on the CPU.

    Args:
        source: `s3prl:NAME?option=value&option=value`; the options are those of s3prl's entry, e.g. `ckpt`, a local
            file. `%26` stands for `&` in a value.

    Raises:
        UserError: s3prl or a package that the upstream needs is missing, s3prl has no such upstream, a file is missing,
            weights would have to be downloaded, or a checkpoint cannot be read without running its code.
    """
    name, options = _parse(source)
    try:
        with guarded_s3prl():
            from s3prl import hub
            from s3prl.nn.upstream import S3PRLUpstream
    except ModuleNotFoundError as error:
        raise UserError(f"{source} needs the package '{error.name}': pip install -e '.[superb]'") from error
    _require_known(name, hub)
    try:
        with guarded_s3prl():
            upstream = S3PRLUpstream(name, extra_conf=options)
        return S3prlEncoder(upstream, source).eval()
    except ModuleNotFoundError as error:
        raise UserError(
            f"{source} needs the package '{error.name}', which s3prl does not bring; install it, or take another one"
        ) from error
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(
            f"{source}: the checkpoint holds {f'the object {found[1]}' if found else 'something'} that cannot be read "
            "without running code of the file; have s3prl convert it where you trust it (convert.py of the upstream)"
        ) from error
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except Exception as error:  # s3prl's loaders raise whatever their checkpoints lead to
        raise UserError(f"s3prl cannot build {source}: {type(error).__name__}: {_one_line(error)}") from error


def s3prl_files(source: str) -> Iterator[Path]:
    """Yield the local files that an upstream is read from."""
    _, options = _parse(source)
    for path in (Path(options[key]) for key in _FILES if key in options):
        yield from (file for file in sorted(path.rglob("*")) if file.is_file()) if path.is_dir() else [path]


def _parse(source: str) -> tuple[str, dict[str, Any]]:
    """Return the name of the upstream and its options."""
    name, _, query = source.removeprefix(PREFIX).partition("?")
    options: dict[str, Any] = {}
    for option in filter(None, query.split("&")):
        key, equals, text = option.partition("=")
        if not equals:
            raise UserError(f"{source}: '{option}' is no option; give key=value, and & between options")
        if key == "refresh":
            raise UserError(f"{source}: nothing is downloaded here, so there is nothing to refresh; leave it out")
        options[key] = _local_file(unquote(text), source) if key in _FILES else _value(unquote(text))
    return name, options


def _local_file(text: str, source: str) -> str:
    path = Path(text).expanduser()
    if not path.exists():
        raise UserError(f"{source}: {text} does not exist; give a file on this machine")
    return str(path)


def _value(text: str) -> Any:
    """Return a value as the type that it looks like."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not _NUMBER.fullmatch(text):
        return text
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)


def _require_known(name: str, hub: ModuleType) -> None:
    # What s3prl lists has all that its files import in it.
    entries = {entry: getattr(hub, entry) for entry in hub.options()}
    known = [entry for entry, value in entries.items() if inspect.isfunction(value) and _is_entry(value.__module__)]
    if name not in known:
        raise UserError(f"s3prl has no upstream '{name}'{nearest(name, known)}")
    if name in _OF_TRANSFORMERS:
        raise UserError(f"{PREFIX}{name} is a model of transformers: give it as hf:FOLDER")


def _is_entry(module: str) -> bool:
    return module.startswith("s3prl.") and module.endswith(".hubconf")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
