"""One pass of a frozen encoder over the recordings: what the probes need of all layers, and no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from speechssl.audio import SAMPLE_RATE
from speechssl.data.alignments import frame_phones
from speechssl.errors import UserError
from speechssl.evaluation.recordings import Recording
from speechssl.evaluation.sampling import generator_for
from speechssl.models.encoder import Encoder
from speechssl.progress import progress


@dataclass
class Request:
    """What to keep of one recording."""

    recording: Recording
    pooled: bool = False
    """The mean of the hidden states over time."""
    sequence: bool = False
    """All hidden states."""
    phone_frames: int = 0
    """Number of frames to keep with their phone."""
    rank_frames: int = 0
    """Number of frames that count for RankMe."""


@dataclass
class Hidden:
    """What was kept of all recordings, by audio file."""

    pooled: dict[Path, Tensor] = field(default_factory=dict)
    """`(layers + 1, dim)`."""
    sequences: dict[Path, Tensor] = field(default_factory=dict)
    """`(layers + 1, frames, dim)`, float16."""
    phones: dict[Path, tuple[Tensor, list[str]]] = field(default_factory=dict)
    """`(layers + 1, kept frames, dim)` and the phone of each."""
    gram: Tensor | None = None
    """`(layers + 1, dim, dim)`, float64: sum of the outer products of the frames for RankMe."""
    gram_frames: int = 0


class WaveformCache:
    """Decoded audio, kept between encoders while it fits.

    Args:
        max_seconds: length that recordings are cut to.
        limit: seconds of audio kept at most (16 kHz float32: an hour is 230 MB).
    """

    def __init__(self, max_seconds: float, limit: float = 7200.0) -> None:
        self.max_samples = round(max_seconds * SAMPLE_RATE)
        self._free = round(limit * SAMPLE_RATE)
        self._kept: dict[Path, Tensor] = {}

    def samples(self, recording: Recording) -> int:
        """Return the samples of a recording that are used."""
        return min(recording.samples, self.max_samples)

    def read(self, recording: Recording) -> Tensor:
        """Return `(samples,)`; audio that is shorter than its manifest says is a `UserError`."""
        if recording.audio in self._kept:
            return self._kept[recording.audio]
        waveform = recording.read()[: self.max_samples].clone()
        if len(waveform) <= self._free:
            self._free -= len(waveform)
            self._kept[recording.audio] = waveform
        return waveform


class Timed(Protocol):
    """A recording, or a stretch of one."""

    @property
    def name(self) -> str:
        """What tells it from others of its length."""
        ...

    @property
    def samples(self) -> int:
        """Its length at 16 kHz."""
        ...


Item = TypeVar("Item", bound=Timed)


def batches(recordings: Iterable[Item], batch_seconds: float, max_samples: int) -> Iterator[list[Item]]:
    """Yield recordings of similar length, `batch_seconds` of padded audio at most (one recording at least)."""
    batch: list[Item] = []
    for recording in sorted(recordings, key=lambda item: (item.samples, item.name)):
        longest = min(recording.samples, max_samples)
        if batch and (len(batch) + 1) * longest > batch_seconds * SAMPLE_RATE:
            yield batch
            batch = []
        batch.append(recording)
    if batch:
        yield batch


def padded(waveforms: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return `(batch, samples)` padded with zeros, and the lengths `(batch,)`."""
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    batch = torch.nn.utils.rnn.pad_sequence(list(waveforms), batch_first=True)
    return batch.to(device), lengths.to(device)


@torch.no_grad()
def extract(
    encoder: Encoder,
    requests: Sequence[Request],
    cache: WaveformCache,
    batch_seconds: float,
    seed: int,
    description: str,
) -> Hidden:
    """Run the encoder over the recordings and keep what was asked for.

    Which frames are kept depends on the recording's name, its length, the seed and the frame rate only, so encoders
    of the same rate are probed on the same frames.
    """
    by_audio = {request.recording.audio: request for request in requests}
    device = next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    encoder.eval()
    hidden = Hidden()
    groups = list(batches((request.recording for request in requests), batch_seconds, cache.max_samples))
    for group in progress(groups, description, "batch"):
        output = encoder(*padded([cache.read(recording) for recording in group], device))
        states = torch.stack(output.hidden_states, dim=1).float().cpu()
        for row, recording in enumerate(group):
            frames = int(output.lengths[row])
            if not bool(torch.isfinite(states[row, :, :frames].sum())):
                raise UserError(
                    f"{description}: hidden states are not finite on {recording.audio}: the encoder is broken"
                )
            if frames == 0:
                cut = recording.samples > cache.max_samples
                remedy = "it is cut there: raise max_seconds" if cut else "remove it from the manifest"
                raise UserError(f"{recording.audio} is too short for a frame of the encoder; {remedy}")
            _keep(hidden, by_audio[recording.audio], states[row, :, :frames], encoder.frame_rate, seed)
    return hidden


def _keep(hidden: Hidden, request: Request, states: Tensor, frame_rate: float, seed: int) -> None:
    """File what was asked of one recording; `states` is `(layers + 1, frames, dim)`."""
    audio = request.recording.audio
    if request.pooled:
        hidden.pooled[audio] = states.mean(dim=1)
    if request.sequence:
        hidden.sequences[audio] = states.half()
    if not request.phone_frames and not request.rank_frames:
        return
    order = _frame_order(request.recording, states.shape[1], frame_rate, seed)
    if request.phone_frames:
        phones = frame_phones(request.recording.phones, states.shape[1], frame_rate)
        chosen = [frame for frame in order if phones[frame] is not None][: request.phone_frames]
        hidden.phones[audio] = states[:, chosen].clone(), [phones[frame] for frame in chosen]
    if request.rank_frames:
        vectors = states[:, order[: request.rank_frames]].double()
        gram = vectors.transpose(1, 2) @ vectors
        hidden.gram = gram if hidden.gram is None else hidden.gram + gram
        hidden.gram_frames += vectors.shape[1]


def _frame_order(recording: Recording, frames: int, frame_rate: float, seed: int) -> list[int]:
    """Return the frames in a random order that encoders of one rate share, even if one has a frame less at the end."""
    most = int(np.ceil(recording.seconds * frame_rate)) + 1
    order = generator_for(seed, recording.name, "frames").permutation(most)
    return [int(frame) for frame in order if frame < frames]
