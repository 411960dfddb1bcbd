"""How near an estimated signal is to the reference: PESQ, STOI and SI-SDR, all by torchmetrics."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from speechssl.audio import SAMPLE_RATE

WITHOUT_SOUND = {"pesq": 1.0, "si_sdr": -30.0}
"""Scores of an estimate without any sound. PESQ has none of it, SI-SDR is minus infinity."""


class NoSpeechError(Exception):
    """A reference has too little speech for a score. The message says which score."""


def has_pesq() -> bool:
    """Return whether the package is there that computes PESQ; it has to be compiled."""
    return bool(pesq_files())


def pesq_files() -> list[Path]:
    """Return what tells that the package is there now: results without it are not those with it."""
    found = find_spec("pesq")
    return [Path(found.origin)] if found is not None and found.origin else []


def pesq(estimate: Tensor, reference: Tensor) -> float:
    """Return the wide-band opinion score (ITU-T P.862.2), 1 to 4.6, of `(samples,)` each.

    Raises:
        NoSpeechError: none is found in the reference.
    """
    from pesq import BufferTooShortError, NoUtterancesError
    from torchmetrics.functional.audio.pesq import perceptual_evaluation_speech_quality

    if not bool(estimate.any()):
        return WITHOUT_SOUND["pesq"]
    try:
        return float(perceptual_evaluation_speech_quality(estimate, reference, SAMPLE_RATE, "wb"))
    except (BufferTooShortError, NoUtterancesError) as error:
        raise NoSpeechError("PESQ finds no speech in it, or less than a quarter of a second") from error


def stoi(estimate: Tensor, reference: Tensor) -> float:
    """Return the short-time objective intelligibility (not the extended one) of `(samples,)` each.

    Raises:
        NoSpeechError: the reference has less than 30 frames of 12.8 ms that are not silent.
    """
    from torchmetrics.functional.audio.stoi import short_time_objective_intelligibility

    with warnings.catch_warnings():
        # pystoi warns, and returns a number that is no score.
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(short_time_objective_intelligibility(estimate, reference, SAMPLE_RATE))
        except RuntimeWarning as error:
            raise NoSpeechError("STOI needs 0.4 s that are not silent") from error


def si_sdr(estimates: Tensor, references: Tensor) -> float:
    """Return the scale-invariant signal-to-distortion ratio of `(sources, samples)` each, in dB.

    That is the mean over the sources, in the order of the estimates that has the highest one.
    """
    best, _ = best_order(estimates[None], references[None], _si_sdr, "max")
    return float(best)


def best_order(
    estimates: Tensor, references: Tensor, score: Callable[[Tensor, Tensor], Tensor], best: Literal["max", "min"]
) -> tuple[Tensor, Tensor]:
    """Return the mean score over the sources in the order that is best, and that order.

    Args:
        estimates: `(batch, sources, ...)`.
        references: of the same shape.
        score: gives `(batch,)` of one source's `(batch, ...)`.
        best: `max` or `min`.

    Returns:
        `(batch,)` and `(batch, sources)`.
    """
    from torchmetrics.functional.audio import permutation_invariant_training

    found: tuple[Tensor, Tensor] = permutation_invariant_training(estimates, references, score, eval_func=best)
    return found


def _si_sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    # torchmetrics adds a constant to all energies: of a quiet signal it would be most of them.
    estimate, reference = (functional.normalize(signal.double(), dim=-1) for signal in (estimate, reference))
    ratio = scale_invariant_signal_distortion_ratio(estimate, reference)
    return torch.where(estimate.any(dim=-1), ratio, WITHOUT_SOUND["si_sdr"])
