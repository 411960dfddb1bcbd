"""What a frozen encoder makes of the recordings, computed once: one vector each, or one a frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from speechssl.errors import UserError
from speechssl.evaluation.extract import WaveformCache, batches, padded
from speechssl.evaluation.recordings import Recording
from speechssl.evaluation.vectors import VectorFile
from speechssl.models.encoder import Encoder, EncoderOutput
from speechssl.progress import progress

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
        self._workers = workers or len(os.sched_getaffinity(0))

    def groups(self, recordings: Sequence[Recording]) -> list[list[Recording]]:
        """Return recordings of similar length, a batch each."""
        return list(batches(recordings, self._batch_seconds, self._cache.max_samples))

    def read(self, groups: Sequence[Sequence[Recording]]) -> Iterator[list[Tensor]]:
        """Yield the waveforms of each batch."""
        with ThreadPoolExecutor(self._workers) as pool:
            for group in groups:
                yield list(pool.map(self._cache.read, group))


def scene_vectors(
    encoder: Encoder,
    recordings: Sequence[Recording],
    reader: Reader,
    device: torch.device,
    description: str,
    kept: VectorFile,
) -> Tensor:
    """Return `encoder.pool` of every recording: `(recordings, dim)`, float32, on the CPU.

    Args:
        encoder: the frozen encoder.
        recordings: what it encodes.
        reader: of them.
        device: where the encoder runs.
        description: name of the encoder, for messages.
        kept: vectors of an interrupted command on the same recordings, which are gone on with.

    Raises:
        UserError: a recording is too short for a frame of the encoder, or a vector is not finite.
    """
    _require_frames(encoder, recordings, 1, description)
    counts = dict.fromkeys((recording.name for recording in recordings), 1)
    return torch.cat(_encode(encoder, recordings, counts, encoder.pool, reader, device, description, kept))


def frame_states(
    encoder: Encoder,
    recordings: Sequence[Recording],
    reader: Reader,
    device: torch.device,
    description: str,
    kept: VectorFile,
) -> list[Tensor]:
    """Return the last hidden state of every recording: `(frames, dim)` each, float32, on the CPU.

    An hour of 50 frames a second and 768 numbers each takes 550 MB, here and in `kept`, and twice that while they are
    joined. Arguments are those of :func:`scene_vectors`.

    Raises:
        UserError: a recording has fewer than two frames, or a state is not finite.
    """
    frames = _require_frames(encoder, recordings, MIN_EVENT_FRAMES, description)
    counts = {recording.name: count for recording, count in zip(recordings, frames, strict=True)}

    def real(output: EncoderOutput) -> Tensor:
        states = output.hidden_states[-1]
        return torch.cat([each[:length] for each, length in zip(states, output.lengths.tolist(), strict=True)])

    return _encode(encoder, recordings, counts, real, reader, device, description, kept)


def _require_frames(encoder: Encoder, recordings: Sequence[Recording], min_frames: int, description: str) -> list[int]:
    """Return the frames of each recording, or raise a `UserError` where one has too few."""
    frames = encoder.frame_lengths(torch.tensor([recording.samples for recording in recordings]))
    short = (frames < min_frames).nonzero().flatten().tolist()
    if short:
        raise UserError(
            f"{description}: {len(short)} recordings are too short for {min_frames} frames of it, the first is "
            f"{recordings[short[0]].audio}; take this encoder out of encoders"
        )
    return [int(count) for count in frames]


@torch.no_grad()
def _encode(
    encoder: Encoder,
    recordings: Sequence[Recording],
    counts: Mapping[str, int],
    vectors_of: Callable[[EncoderOutput], Tensor],
    reader: Reader,
    device: torch.device,
    description: str,
    kept: VectorFile,
) -> list[Tensor]:
    """Return the vectors of each recording, of which there are `counts`, from the encoder in evaluation mode."""
    encoder.eval().to(device)
    groups = reader.groups(recordings)
    done, vectors = kept.read([sum(counts[recording.name] for recording in group) for group in groups])
    found = [vectors]
    for waveforms in progress(reader.read(groups[done:]), description, "batch", total=len(groups) - done):
        found.append(vectors_of(encoder(*padded(waveforms, device))).float().cpu())
        kept.append(found[-1])
    in_order = [recording for group in groups for recording in group]
    parts = torch.cat(found).split([counts[recording.name] for recording in in_order])
    by_name = {recording.name: part for recording, part in zip(in_order, parts, strict=True)}
    ordered = [by_name[recording.name] for recording in recordings]
    broken = [row for row, numbers in enumerate(ordered) if not bool(numbers.isfinite().all())]
    if broken:
        kept.remove()
        raise UserError(
            f"{description}: {len(broken)} recordings have numbers that are not finite, the first is "
            f"{recordings[broken[0]].audio}; the encoder is broken, or the recording is"
        )
    return ordered
