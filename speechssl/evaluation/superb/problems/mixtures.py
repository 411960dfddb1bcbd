"""Mixtures, and the recordings of what is to be heard in them: the targets of SE and SS."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from speechssl.audio import SAMPLE_RATE, AudioError
from speechssl.audio.header import read_header
from speechssl.errors import UserError
from speechssl.evaluation.superb.cells import require_none_bad
from speechssl.evaluation.superb.data import TaskData, Utterance
from speechssl.progress import progress
from speechssl.threads import available_cores


@dataclass(frozen=True)
class Mixture(Utterance):
    """An utterance, and what is heard in it."""

    sources: tuple[Utterance, ...] = ()
    """The same stretch of the recording of each source alone."""
    hop: int = 0
    """Samples from one spectrum to the next."""
    repeats: int = 1
    """Spectra that a frame of the encoder stands for."""

    def at_rate(self, frame_rate: float, longest: int) -> Mixture:
        """Return the mixture for an encoder of so many frames a second.

        Args:
            frame_rate: of the encoder.
            longest: most samples from one spectrum to the next; frames that are further apart are repeated.
        """
        step = round(SAMPLE_RATE / frame_rate)
        repeats = -(-step // longest)
        return replace(self, hop=round(step / repeats), repeats=repeats)

    def references(self) -> Tensor:
        """Return `(sources, samples)`."""
        return torch.stack([source.read() for source in self.sources])


def mixtures_of(data: TaskData, part: str, columns: Sequence[str]) -> dict[str, Mixture]:
    """Return the mixtures of a part by their names. Every recording of a source is read once.

    Args:
        data: of the task.
        part: which one.
        columns: those that name the recordings of the sources, absolute or from the folder of the data.

    Raises:
        UserError: recordings of sources that cannot be read, are silent, or have another rate, length or number of
            channels than their mixture. All are counted, and the first few named.
    """
    utterances = data.parts[part]
    with ThreadPoolExecutor(available_cores()) as pool:
        found = pool.map(lambda utterance: _mixture(utterance, data, columns), utterances)
        mixtures = list(progress(found, f"sources of {part}", "mixture", len(utterances)))
    bad = [item for item in mixtures if isinstance(item, str)]
    require_none_bad(data.name(part), bad)
    return {item.name: item for item in mixtures if isinstance(item, Mixture)}


def _mixture(utterance: Utterance, data: TaskData, columns: Sequence[str]) -> Mixture | str:
    """Return one mixture, or what is wrong with its sources."""
    sources = tuple(replace(utterance, audio=data.recording(utterance.labels[column])) for column in columns)
    for source in sources:
        wrong = _wrong(source, utterance)
        if wrong:
            return f"{utterance.name} ({source.audio}): {wrong}"
    return Mixture(**vars(utterance), sources=sources)


def _wrong(source: Utterance, mixture: Utterance) -> str:
    """Return what is wrong with the recording of a source; nothing where all is well."""
    if not os.path.isfile(source.audio):  # which takes any name, however long
        return "no such file"
    try:
        own, expected = read_header(source.audio), read_header(mixture.audio)
        if own.rate != expected.rate:
            return f"has {own.rate} Hz, its mixture {mixture.audio} {expected.rate} Hz"
        if own.channels != expected.channels:
            return f"has {own.channels} channels, its mixture {mixture.audio} {expected.channels}"
        if own.samples != expected.samples:
            seconds, expected_seconds = own.samples / SAMPLE_RATE, expected.samples / SAMPLE_RATE
            return f"has {seconds:.4f} s, its mixture {mixture.audio} {expected_seconds:.4f} s"
        return "" if bool(source.read().any()) else "is silent"
    except AudioError as error:
        return str(error)
    except UserError as error:
        return f"cannot be used: {error}"
