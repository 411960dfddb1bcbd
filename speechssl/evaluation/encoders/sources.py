"""What an encoder to evaluate may be given as: a path, `s3prl:NAME` or `hf:FOLDER`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechssl.evaluation.encoders import huggingface, s3prl_encoder
from speechssl.evaluation.encoders.foreign import ForeignEncoder
from speechssl.files import checksum
from speechssl.models.checksum import weights_checksum
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.encoder import Encoder
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import encoder_files, load_encoder


def load_source(source: str) -> Encoder:
    """Load an encoder, in evaluation mode, on the CPU.

    Args:
        source: whatever `speechssl.load_encoder` takes; `s3prl:NAME?option=value`, an upstream of s3prl; `hf:FOLDER`, a
            Hugging Face model in a local folder.

    Raises:
        UserError: there is no such encoder, or it cannot be loaded.
    """
    if source.startswith(s3prl_encoder.PREFIX):
        return s3prl_encoder.load_s3prl(source)
    if source.startswith(huggingface.PREFIX):
        return huggingface.load_huggingface(source)
    return load_encoder(source)


def source_files(source: str) -> Iterator[Path]:
    """Yield the files that decide what an encoder is: weights and configuration."""
    if source.startswith(s3prl_encoder.PREFIX):
        yield from s3prl_encoder.s3prl_files(source)
    elif source.startswith(huggingface.PREFIX):
        yield from huggingface.huggingface_files(source)
    else:
        yield from encoder_files(source)


def source_place(source: str) -> str | frozenset[Path]:
    """Return what all names of one encoder have in common: its files.

    An upstream of s3prl has its name alone: with other options it is another encoder of the same files.
    """
    if source.startswith(s3prl_encoder.PREFIX):
        return source
    return frozenset(file.resolve() for file in source_files(source)) or source


def encoder_identity(encoder: Encoder, source: str) -> str:
    """Return a checksum that other weights, another configuration and another source of foreign ones change.

    Args:
        encoder: any encoder.
        source: what it was named by.
    """
    config: Any = source
    if isinstance(encoder, HubertEncoder | ClipEncoder):
        config = [type(encoder).__name__, dataclasses.asdict(encoder.config)]
    elif isinstance(encoder, ForeignEncoder):
        # What is done to the waveform, for one, is in no weight.
        config = [source, [checksum(file) for file in source_files(source)]]
    facts = [config, encoder.frame_rate, weights_checksum(encoder)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def is_own(encoder: Encoder) -> bool:
    """Return whether an encoder is one of ours: it can be fine-tuned, and made anew with random weights."""
    return isinstance(encoder, HubertEncoder | ClipEncoder)
