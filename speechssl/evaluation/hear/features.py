"""What a frozen encoder makes of the recordings, computed once: one vector each, or one a frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from speechssl.errors import UserError
from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.extract import WaveformCache, batches, padded
from speechssl.evaluation.recordings import Recording
from speechssl.evaluation.vectors import VectorFile
from speechssl.models.encoder import Encoder, EncoderOutput
from speechssl.progress import progress
from speechssl.threads import available_cores

MIN_EVENT_FRAMES = 2
"""That events can be found in."""


class Reader:
    """Reads recordings in threads, and keeps them between encoders while they fit (two hours).

    Args:
        recordings: all that will be read.
        batch_seconds: seconds of padded audio in a batch.
        workers: threads that decode; 0 is one a core.
    """

    def __init__(self, recordings: Sequence[Recording], batch_seconds: float, workers: int = 0) -> None:
        self._longest = max(recording.seconds for recording in recordings)
        self._cache = WaveformCache(self._longest)
        self._batch_seconds = batch_seconds
        self._workers = workers or available_cores()

    def groups(self, recordings: Sequence[Recording]) -> list[list[Recording]]:
        """Return recordings of similar length, a batch each."""
        return list(batches(recordings, self._batch_seconds, self._cache.max_samples))

    def read(self, groups: Sequence[Sequence[Recording]]) -> Iterator[list[Tensor]]:
        """Yield the waveforms of each batch."""
        with ThreadPoolExecutor(self._workers) as pool:
            for group in groups:
                yield list(pool.map(self._cache.read, group))


@dataclass(frozen=True)
class Encoding:
    """A frozen encoder, and what it encodes; what it made before an interruption is gone on with."""

    encoder: Encoder
    """Put into evaluation mode."""
    recordings: Sequence[Recording]
    """What it encodes."""
    reader: Reader
    """Of these recordings."""
    device: torch.device
    """Where the encoder runs."""
    description: str
    """Name of the encoder, for messages."""
    kept: VectorFile
    """Vectors of an interrupted command on the same recordings."""

    def scene_vectors(self) -> Tensor:
        """Return `encoder.pool` of every recording: `(recordings, dim)`, float32, on the CPU.

        Raises:
            UserError: a vector is not finite.
        """
        return torch.cat(self._encode([1] * len(self.recordings), self.encoder.pool))

    def frame_states(self) -> list[Tensor]:
        """Return the last hidden state of every recording: `(frames, dim)` each, float32, on the CPU.

        An hour of 50 frames a second and 768 numbers each takes 550 MB, here and in `kept`, and twice that while they
        are joined.

        Raises:
            UserError: a state is not finite.
        """
        return self._encode(_frames(self.encoder, self.recordings).tolist(), _last_states)

    @torch.no_grad()
    def _encode(self, counts: Sequence[int], vectors_of: Callable[[EncoderOutput], Tensor]) -> list[Tensor]:
        """Return the vectors of each recording, of which there are `counts`."""
        self.encoder.eval().to(self.device)
        count = {recording.name: each for recording, each in zip(self.recordings, counts, strict=True)}
        groups = self.reader.groups(self.recordings)
        done, vectors = self.kept.read([sum(count[recording.name] for recording in group) for group in groups])
        found = [vectors]
        waiting = self.reader.read(groups[done:])
        for waveforms in progress(waiting, self.description, "batch", total=len(groups) - done):
            found.append(vectors_of(self.encoder(*padded(waveforms, self.device))).float().cpu())
            self.kept.append(found[-1])
        names = [recording.name for group in groups for recording in group]
        parts = torch.cat(found).split([count[name] for name in names])
        by_name = dict(zip(names, parts, strict=True))
        ordered = [by_name[recording.name] for recording in self.recordings]
        self._require_finite(ordered)
        return ordered

    def _require_finite(self, ordered: Sequence[Tensor]) -> None:
        """Forget all vectors and raise a `UserError` where numbers are not finite."""
        broken = [row for row, numbers in enumerate(ordered) if not bool(numbers.isfinite().all())]
        if broken:
            self.kept.remove()
            raise UserError(
                f"{self.description}: {len(broken)} recordings have numbers that are not finite, the first is "
                f"{self.recordings[broken[0]].audio}; the encoder is broken, or the recording is"
            )


def require_frames(rivals: Iterable[Contestant], recordings: Sequence[Recording], events: bool) -> None:
    """Raise a `UserError` where a recording is too short for any encoder: the first may take hours."""
    least = MIN_EVENT_FRAMES if events else 1
    # A random one has the frames of the trained one.
    for rival in (rival for rival in rivals if rival.like is None):
        short = (_frames(rival.build(), recordings) < least).nonzero().flatten().tolist()
        if short:
            raise UserError(
                f"{rival.source}: {len(short)} recordings are too short for {least} frames of it, the first is "
                f"{recordings[short[0]].audio}; take this encoder out"
            )


def _frames(encoder: Encoder, recordings: Sequence[Recording]) -> Tensor:
    return encoder.frame_lengths(torch.tensor([recording.samples for recording in recordings]))


def _last_states(output: EncoderOutput) -> Tensor:
    """Return the last hidden states of a batch without padding, one recording after the other: `(frames, dim)`."""
    lengths = output.lengths.tolist()
    return torch.cat([states[:length] for states, length in zip(output.hidden_states[-1], lengths, strict=True)])
