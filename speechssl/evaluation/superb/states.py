"""Hidden states of a frozen encoder: of some utterances, or computed whenever they are asked for."""

from __future__ import annotations

import functools
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from speechssl.errors import UserError, few
from speechssl.evaluation.encoders.sources import encoder_identity
from speechssl.evaluation.extract import batches, padded
from speechssl.evaluation.superb.data import Utterance
from speechssl.models.encoder import Encoder
from speechssl.threads import available_cores

Batch: TypeAlias = tuple[Tensor, Tensor]
"""`(batch, frames, layers + 1, dim)` float16, padded with zeros, and the lengths `(batch,)`."""


class States(Protocol):
    """Hidden states of the utterances of one part."""

    frames: npt.NDArray[np.int64]
    """`(utterances,)`: frames of each."""

    def batch(self, rows: Sequence[int]) -> Batch:
        """Return the states of some utterances."""
        ...

    def batches(self, chosen: Iterable[Sequence[int]]) -> Generator[Batch]:
        """Yield one batch after the other; what is read from a disk is read while the last one is used."""
        ...


class SomeStates:
    """The states of some of the utterances.

    Args:
        states: of all of them.
        rows: which ones.
    """

    def __init__(self, states: States, rows: Sequence[int]) -> None:
        self.frames = states.frames[list(rows)]
        self._states = states
        self._rows = rows

    def batch(self, rows: Sequence[int]) -> Batch:
        """Return the states of some of them."""
        return self._states.batch([self._rows[row] for row in rows])

    def batches(self, chosen: Iterable[Sequence[int]]) -> Generator[Batch]:
        """Yield one batch after the other."""
        return self._states.batches([self._rows[row] for row in rows] for rows in chosen)


class FreshStates:
    """States that are computed whenever they are asked for: for parts that no disk should hold.

    Args:
        frozen: the encoder.
        utterances: of the part.
        pooled: whether a state is the mean over time.
    """

    def __init__(self, frozen: FrozenEncoder, utterances: Sequence[Utterance], pooled: bool) -> None:
        self._frozen = frozen
        self._utterances = utterances
        self._pooled = pooled
        self.frames = np.ones(len(utterances), dtype=np.int64) if pooled else frozen.frames(utterances)

    def batch(self, rows: Sequence[int]) -> Batch:
        """Encode some utterances, on the encoder's device."""
        chosen = [self._utterances[row] for row in rows]
        encoded: dict[str, Tensor] = {}
        # A batch of a head may be more than the encoder is to get at once.
        for group in self._frozen.groups(chosen):
            states = self._frozen.encode(group, self._pooled)
            encoded |= {item.name: one for item, one in zip(group, states, strict=True)}
        pieces = [encoded[item.name] for item in chosen]
        return pad_sequence(pieces, batch_first=True), torch.tensor([len(piece) for piece in pieces])

    def batches(self, chosen: Iterable[Sequence[int]]) -> Generator[Batch]:
        """Encode one batch after the other, each when it is asked for: the device computes one thing at a time."""
        for rows in chosen:
            yield self.batch(rows)


class FrozenEncoder:
    """An encoder in evaluation mode, and how audio is given to it.

    Args:
        encoder: any encoder.
        source: what it was named by, for messages.
        device: where it runs.
        gain: factor on the waveform.
        batch_seconds: seconds of padded audio at once.
        min_frames: that a head needs of an utterance.
    """

    def __init__(
        self,
        encoder: Encoder,
        source: str,
        device: torch.device,
        gain: float = 1.0,
        batch_seconds: float = 60.0,
        min_frames: int = 1,
    ) -> None:
        self.encoder = encoder.eval().to(device)
        self.source = source
        self._device = device
        self.gain = gain
        self._batch_seconds = batch_seconds
        self._min_frames = min_frames
        self._threads = ThreadPoolExecutor(available_cores())

    @functools.cached_property
    def identity(self) -> str:
        """Checksum of the encoder's weights and configuration, which do not change."""
        return encoder_identity(self.encoder, self.source)

    @property
    def layers(self) -> int:
        """Hidden states of a frame."""
        return self.encoder.num_layers + 1

    def frames(self, utterances: Sequence[Utterance]) -> npt.NDArray[np.int64]:
        """Return the frames of each utterance.

        Raises:
            UserError: some have fewer than a head needs, or none: they are shorter than what a frame sees.
        """
        lengths = self.encoder.frame_lengths(torch.tensor([utterance.samples for utterance in utterances])).numpy()
        short = np.flatnonzero(lengths < self._min_frames)
        if len(short):
            needed = "a frame" if self._min_frames == 1 else f"{self._min_frames} frames"
            raise UserError(
                f"{self.source}: {len(short)} utterances are shorter than {needed} of it: "
                f"{few([str(utterances[row].audio) for row in short.tolist()])}; take them out of the csv"
            )
        return lengths.astype(np.int64)

    @torch.no_grad()
    def encode(self, utterances: Sequence[Utterance], pooled: bool) -> list[Tensor]:
        """Return `(frames, layers + 1, dim)` of each utterance, float16, on the device; one frame where `pooled`.

        Rounded here, so that it does not matter whether states are stored.

        Raises:
            UserError: audio that cannot be read, or states that are not finite.
        """
        waveforms = list(self._threads.map(lambda utterance: utterance.read(self.gain), utterances))
        output = self.encoder(*padded(waveforms, self._device))
        states = torch.stack(output.hidden_states, dim=2).float()
        states = states if pooled else states.half()
        whole = [one[:length] for one, length in zip(states, output.lengths.tolist(), strict=True)]
        found = [one.mean(dim=0, keepdim=True).half() for one in whole] if pooled else whole
        # One answer for all: each that is asked for makes the processor wait for a GPU.
        finite = torch.stack([torch.isfinite(one).all() for one in found]).tolist()
        if not all(finite):
            raise UserError(
                f"{self.source}: hidden states of {utterances[finite.index(False)].audio} are not finite in half "
                "precision; the encoder is broken, or the recording is"
            )
        return found

    def groups(self, utterances: Sequence[Utterance]) -> Iterator[list[Utterance]]:
        """Yield utterances of similar length."""
        yield from batches(utterances, self._batch_seconds, max(utterance.samples for utterance in utterances))
