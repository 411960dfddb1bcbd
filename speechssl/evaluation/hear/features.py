"""What a frozen encoder makes of the recordings, computed once: one vector each, or one a frame."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from speechssl.errors import UserError
from speechssl.evaluation.extract import WaveformCache, batches, padded
from speechssl.evaluation.recordings import Recording
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

    def batches(self, recordings: Sequence[Recording]) -> Iterator[tuple[list[Recording], list[Tensor]]]:
        """Yield recordings of similar length and their waveforms."""
        with ThreadPoolExecutor(self._workers) as pool:
            for group in batches(recordings, self._batch_seconds, self._cache.max_samples):
                yield group, list(pool.map(self._cache.read, group))


@torch.no_grad()
def scene_vectors(
    encoder: Encoder, recordings: Sequence[Recording], reader: Reader, device: torch.device, description: str
) -> Tensor:
    """Return `encoder.pool` of every recording: `(recordings, dim)`, float32, on the CPU.

    Raises:
        UserError: a recording is too short for a frame of the encoder, or a vector is not finite.
    """
    found: dict[str, Tensor] = {}
    for group, output in _encode(encoder, recordings, reader, device, description, 1):
        vectors = encoder.pool(output).float().cpu()
        found |= {recording.name: vector for recording, vector in zip(group, vectors, strict=True)}
    ordered = [found[recording.name] for recording in recordings]
    _require_finite(ordered, recordings, description)
    return torch.stack(ordered)


@torch.no_grad()
def frame_states(
    encoder: Encoder, recordings: Sequence[Recording], reader: Reader, device: torch.device, description: str
) -> list[Tensor]:
    """Return the last hidden state of every recording: `(frames, dim)` each, float32, on the CPU.

    An hour of 50 frames a second and 768 numbers each takes 550 MB, and twice that while they are joined.

    Raises:
        UserError: a recording has fewer than two frames, or a state is not finite.
    """
    found: dict[str, Tensor] = {}
    for group, output in _encode(encoder, recordings, reader, device, description, MIN_EVENT_FRAMES):
        states = output.hidden_states[-1].float().cpu()
        lengths = output.lengths.tolist()
        found |= {
            recording.name: frames[:length].clone()
            for recording, frames, length in zip(group, states, lengths, strict=True)
        }
    ordered = [found[recording.name] for recording in recordings]
    _require_finite(ordered, recordings, description)
    return ordered


def _encode(
    encoder: Encoder,
    recordings: Sequence[Recording],
    reader: Reader,
    device: torch.device,
    description: str,
    min_frames: int,
) -> Iterator[tuple[list[Recording], EncoderOutput]]:
    """Yield what the encoder, in evaluation mode, makes of each batch."""
    encoder.eval().to(device)
    frames = encoder.frame_lengths(torch.tensor([recording.samples for recording in recordings]))
    short = (frames < min_frames).nonzero().flatten().tolist()
    if short:
        raise UserError(
            f"{description}: {len(short)} recordings are too short for {min_frames} frames of it, the first is "
            f"{recordings[short[0]].audio}; take this encoder out of encoders"
        )
    with progress(recordings, description, "recording") as bar:
        for group, waveforms in reader.batches(recordings):
            yield group, encoder(*padded(waveforms, device))
            bar.update(len(group))


def _require_finite(found: Sequence[Tensor], recordings: Sequence[Recording], description: str) -> None:
    broken = [row for row, numbers in enumerate(found) if not bool(numbers.isfinite().all())]
    if broken:
        raise UserError(
            f"{description}: {len(broken)} recordings have numbers that are not finite, the first is "
            f"{recordings[broken[0]].audio}; the encoder is broken, or the recording is"
        )
