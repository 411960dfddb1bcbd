"""All that s3prl 0.4.18 needs to import and run beside torchaudio 2.9, and what keeps it from doing more than asked."""

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import io
import logging
import random
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor

from speechssl.errors import UserError

_HARMLESS = (
    ast.Expression, ast.Name, ast.Attribute, ast.Subscript, ast.Load, ast.Constant, ast.List, ast.Tuple, ast.BinOp,
    ast.Add, ast.Mult, ast.UnaryOp, ast.USub,
)  # fmt: skip
"""What is in the expressions that s3prl evaluates, such as `[(512,10,5)] + [(512,3,2)] * 4` and `self.model.layers[3]`.
There is no call among it."""

_torch_load = torch.load
_eval = builtins.eval


def patch_torchaudio() -> None:
    """Give torchaudio what it no longer has and s3prl calls: `set_audio_backend` and `sox_effects`.

    Call it before s3prl is imported. Audio is read with soundfile, so there is no backend to set. What torchaudio
    still has stays as it is.
    """
    if not hasattr(torchaudio, "set_audio_backend"):
        torchaudio.set_audio_backend = lambda backend: None
    if not hasattr(torchaudio, "sox_effects"):
        module = types.ModuleType("torchaudio.sox_effects")
        module.apply_effects_tensor = apply_effects_tensor  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        torchaudio.sox_effects = module


def apply_effects_tensor(
    tensor: Tensor, sample_rate: int, effects: list[list[str]], channels_first: bool = True
) -> tuple[Tensor, int]:
    """Apply the sox effects that s3prl uses: `channels 1`, `rate HZ`, `gain DECIBELS`.

    Args:
        tensor: `(channels, samples)`, or `(samples, channels)` with `channels_first=False`.
        sample_rate: of `tensor`.
        effects: names and arguments, applied in turn.
        channels_first: the layout of input and output.

    Returns:
        The waveform and its sample rate. As in sox, what leaves [-1, 1] is clipped.
    """
    x = tensor if channels_first else tensor.T
    for name, *arguments in effects:
        if name == "channels" and arguments == ["1"]:
            x = x.mean(dim=0, keepdim=True)
        elif name == "rate" and len(arguments) == 1:
            x = torchaudio.functional.resample(x, sample_rate, int(arguments[0]))
            sample_rate = int(arguments[0])
        elif name == "gain" and len(arguments) == 1:
            x = torch.clamp(x * 10 ** (float(arguments[0]) / 20), -1.0, 1.0)
        else:
            raise ValueError(f"the sox effect {[name, *arguments]} is not known here: channels 1, rate HZ, gain DB are")
    return (x if channels_first else x.T), sample_rate


@contextlib.contextmanager
def guarded_s3prl() -> Iterator[None]:
    """Import s3prl and build its upstreams in this block: quietly, from local files, running no code of a checkpoint.

    In the block

    - `torch.load` reads weights only, to the CPU. Beside tensors and plain values that is `argparse.Namespace`, which
      s3prl's own checkpoints hold. What cannot be read so is a `pickle.UnpicklingError`: checkpoints of fairseq that
      s3prl has not converted, and those with a pickled optimiser or scheduler.
    - s3prl evaluates no expression with a call in it. It evaluates settings of a checkpoint as Python.
    - what s3prl has not downloaded before, it does not download.
    - s3prl prints and warns of nothing, and leaves Python's and torch's random numbers as they were: it seeds both, on
      GPUs too.

    Raises:
        UserError: s3prl would download weights, or evaluate such an expression.
    """
    patch_torchaudio()
    from s3prl.util import download

    logging.getLogger("s3prl").setLevel(logging.ERROR)
    state = random.getstate()
    # To ask GPUs that nothing uses for their random numbers would take up memory on each.
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with (
        torch.random.fork_rng(devices=gpus),
        torch.serialization.safe_globals([argparse.Namespace]),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        _replaced(torch, "load", _load_weights),
        _replaced(builtins, "eval", _harmless_eval),
        _replaced(download, "_download", _refuse_download),
        # s3prl's own makes the folder, in the home folder.
        _replaced(download, "get_dir", lambda: download._download_dir),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            random.setstate(state)


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _load_weights(file: Any, map_location: Any = "cpu", **options: Any) -> Any:
    """Stand for `torch.load`, whatever the caller says of `weights_only`."""
    return _torch_load(file, map_location, **{**options, "weights_only": True})


def _harmless_eval(source: Any, variables: Any = None, local_variables: Any = None, /) -> Any:
    """Stand for `eval`, which sees the variables of its caller unless it is given some."""
    caller = sys._getframe(1)
    if caller.f_globals.get("__name__", "").startswith("s3prl."):
        _require_harmless(source)
    if variables is None:
        variables = caller.f_globals
        local_variables = caller.f_locals if local_variables is None else local_variables
    return _eval(source, variables, variables if local_variables is None else local_variables)


def _require_harmless(source: Any) -> None:
    try:
        parts = list(ast.walk(ast.parse(source.strip(), mode="eval")))
    except (SyntaxError, AttributeError):
        parts = []
    names = [getattr(part, "attr", getattr(part, "id", "")) for part in parts]
    harmless = parts and all(isinstance(part, _HARMLESS) for part in parts)
    if not harmless or any(name.startswith("__") for name in names):
        raise UserError(
            f"the checkpoint has a setting that s3prl would run as code, and it is not run: {source!r:.200}"
        )


def _refuse_download(filepath: Path, url: str, refresh: bool = False, new_enough_secs: float = 2.0) -> None:
    """Stand for s3prl's download of one file, which keeps what it has."""
    if not filepath.is_file():
        raise UserError(f"s3prl would download {url}; download it yourself, and save it as {filepath}")
