"""What all targets share: which encoders they can hold, the audio of the check, and the comparison."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from speechssl.audio.decode import SAMPLE_RATE, AudioError, read_audio
from speechssl.data.manifest import read_manifest
from speechssl.errors import UserError
from speechssl.export import s3prl
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.hubert import HubertEncoder

TOLERANCE = 1e-4
"""Largest difference between hidden states of the same audio, for hidden states of size 1."""

UTTERANCES = 3
"""Utterances that the check takes from a manifest."""

SECONDS = 10
"""Seconds that the check takes of each."""


def why_not(encoder: HubertEncoder | ClipEncoder, source: str, target: str) -> str | None:
    """Return why the format of another toolkit cannot hold an encoder; `None` where it can.

    Args:
        encoder: what is to be exported.
        source: where it was loaded from.
        target: the other toolkit.
    """
    if isinstance(encoder, ClipEncoder):
        return (
            f"clip encoders have no s3prl or Hugging Face form: use {source} with speechssl.load_encoder, as "
            "encoders= of evaluate, or in s3prl by speechssl.evaluation.encoders.s3prl_upstream.register()"
        )
    if encoder.config.front_end == "waveform" and not encoder.config.cls_frame:
        stride = round(encoder.sample_rate / encoder.frame_rate)
        if target == s3prl.NAME and stride != s3prl.STRIDE:
            return (
                f"s3prl takes {s3prl.STRIDE} samples for a frame of every HuBERT, and this one has {stride}: use "
                f"{source} there by speechssl.evaluation.encoders.s3prl_upstream.register(), as the upstream speechssl"
            )
        return None
    cause = "has a CLS frame" if encoder.config.cls_frame else "has front_end=fbank"
    return (
        f"{target} cannot hold this encoder: its HuBERT reads waveforms only, and this one {cause}; "
        "use speechssl.load_encoder(path) in Python, or pretrain model=small or model=base to export"
    )


def check_audio(audio: str, min_samples: int) -> list[Tensor]:
    """Return waveforms `(samples,)` to compare on.

    Args:
        audio: an audio file, or a manifest, of which the first utterances that are long enough are taken; empty: a
            generated sound.
        min_samples: the fewest samples that the encoder takes.

    Raises:
        UserError: no file, or none that can be decoded and is long enough.
    """
    if not audio:
        return [_generated()]
    if audio.endswith(".tsv"):
        manifest = read_manifest(audio)
        long_enough = [index for index in range(len(manifest)) if manifest.samples[index] >= min_samples]
        paths = [manifest.audio_path(index) for index in long_enough[:UTTERANCES]]
    else:
        paths = [Path(audio)]
    waveforms = []
    for path in paths:
        try:
            waveforms.append(read_audio(path)[: SECONDS * SAMPLE_RATE])
        except AudioError as error:
            raise UserError(f"{path}, which the export is to be checked on, cannot be read: {error}") from error
    if not waveforms or min(len(waveform) for waveform in waveforms) < min_samples:
        raise UserError(f"{audio} has no audio of at least {min_samples} samples to check the export on")
    return waveforms


def compare(ours: list[Tensor], theirs: list[Tensor]) -> tuple[float, bool]:
    """Compare two lists of hidden states `(1, frames, dim)`.

    Returns:
        The largest absolute difference, and whether all are within `TOLERANCE`, times the root mean square of the
        hidden state where that is above 1: the inner layers of pre-LN models hold values of many hundreds, whose
        rounding alone is larger.
    """
    if len(ours) != len(theirs) or any(a.shape != b.shape for a, b in zip(ours, theirs, strict=True)):
        return float("inf"), False
    differences = [(a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True)]
    sizes = [max(1.0, a.square().mean().sqrt().item()) for a in ours]
    close = all(d <= TOLERANCE * size for d, size in zip(differences, sizes, strict=True))
    return max(differences), close


def _generated() -> Tensor:
    """Return three seconds of a gliding, pulsing tone in noise."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    tone = torch.sin(2 * torch.pi * (120 + 40 * time) * time) * torch.sin(2 * torch.pi * 2 * time).square()
    return 0.3 * tone + 0.01 * torch.randn(len(time), generator=generator)
