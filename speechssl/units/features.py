"""Features that frames are clustered by, streamed from audio: MFCC, or a layer of an encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from speechssl.audio import SAMPLE_RATE
from speechssl.audio.mfcc import MFCC_DIM, MFCC_FRAME_RATE, mfcc
from speechssl.data.manifest import Manifest
from speechssl.errors import UserError
from speechssl.limits import require
from speechssl.models.checksum import weights_checksum
from speechssl.models.encoder import Encoder
from speechssl.models.load import load_encoder
from speechssl.settings import read_with
from speechssl.units.pieces import FrameLayout, Piece
from speechssl.units.reading import read_in_order, single_threaded_torch

KINDS = ("mfcc", "encoder")
CONTEXT_SECONDS = 1.0
"""Audio that an encoder hears on either side of a piece; HuBERT's positional convolution looks 1.3 s to either side,
its attention everywhere."""


@dataclass
class FeatureSettings:
    """What frames are clustered by."""

    kind: str = "mfcc"
    """`mfcc` (39 values at 100 Hz, HuBERT's first iteration) or `encoder` (a layer of a pretrained encoder)."""
    encoder: str = ""
    """Folder or file of the encoder, as `speechssl.load_encoder` takes it."""
    layer: int = field(default=6, metadata=read_with("kind", "encoder"))
    """Hidden states to take: 0 is the input of the first layer, 6 what HuBERT's second iteration uses."""
    max_seconds: float = field(default=60.0, metadata=read_with("kind", "encoder"))
    """An encoder gets longer recordings in pieces of this many seconds, so that memory is bounded: it hears one second
    more on either side of a piece, and nothing further. The number of frames is that of the whole recording."""
    batch_seconds: float = field(default=80.0, metadata=read_with("kind", "encoder"))
    """Seconds of audio, padding included, that an encoder gets at once: a piece and its two seconds more at least."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"features.kind={self.kind} is not one of {', '.join(KINDS)}")
        if self.kind == "encoder" and not self.encoder:
            raise UserError("features=encoder needs features.encoder=FOLDER, e.g. a run folder of `speechssl pretrain`")
        if self.kind == "mfcc" and self.encoder:
            raise UserError(f"features.encoder={self.encoder} does not go with features=mfcc; give features=encoder")
        require({"features.max_seconds": self.max_seconds}, least=1)
        require({"features.batch_seconds": self.batch_seconds}, above=0)

    @property
    def source(self) -> str:
        """What labels made from these features say of their origin."""
        return "mfcc" if self.kind == "mfcc" else f"{self.encoder} layer {self.layer}"


class Features(Protocol):
    """Frames of recordings."""

    frame_rate: float
    """Frames a second."""
    dim: int
    """Values a frame."""
    layout: FrameLayout
    """How many frames a recording has."""
    checksum: str
    """SHA-256 of the encoder's weights; empty for MFCC."""

    def stream(self, manifest: Manifest, indices: Iterable[int], threads: int) -> Iterator[tuple[int, Tensor]]:
        """Yield `(index, (frames, dim))` in order; a long recording comes as several pieces, one after the other."""
        ...


def open_features(settings: FeatureSettings, device: torch.device) -> Features:
    """Return the features that the settings name.

    Raises:
        UserError: the encoder cannot be loaded, or has no such layer.
    """
    return MfccFeatures(device) if settings.kind == "mfcc" else EncoderFeatures(settings, device)


class MfccFeatures:
    """39 MFCC at 100 Hz, computed on the CPU by the reader threads."""

    frame_rate = MFCC_FRAME_RATE
    dim = MFCC_DIM
    layout = FrameLayout(stride=SAMPLE_RATE // 100, window=SAMPLE_RATE // 40)
    checksum = ""

    _CONTEXT = 4
    """Frames on either side that deltas of deltas look at: with them, pieces give exactly the whole's MFCC."""

    _PIECE = 1000
    """Frames computed at once: what a processor's cache holds."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def stream(self, manifest: Manifest, indices: Iterable[int], threads: int) -> Iterator[tuple[int, Tensor]]:
        """Yield `(index, (frames, 39))` in order."""
        with single_threaded_torch():
            for index, frames in read_in_order(manifest, indices, self.frames, threads):
                yield index, frames.to(self._device)

    def frames(self, waveform: Tensor) -> Tensor:
        """Return `(frames, 39)` of one recording `(samples,)`."""
        pieces = self.layout.pieces(len(waveform), self._PIECE, self._CONTEXT)
        parts = [mfcc(waveform[piece.start : piece.stop])[piece.skip :][: piece.keep] for piece in pieces]
        return torch.cat(parts) if parts else torch.zeros(0, self.dim)


class _Cut(NamedTuple):
    """One piece of one recording."""

    recording: int
    waveform: Tensor
    piece: Piece


class EncoderFeatures:
    """A layer's hidden states, in float32 and padded batches of similar length, on the device.

    Batches depend on the manifest and the settings only, so the frames do not depend on the number of threads.
    """

    _BATCHES_AT_ONCE = 8
    """Batches' worth of audio that is sorted by length at once."""

    def __init__(self, settings: FeatureSettings, device: torch.device) -> None:
        self._encoder: Encoder = load_encoder(settings.encoder).eval().to(device)
        if not 0 <= settings.layer <= self._encoder.num_layers:
            raise UserError(f"{settings.encoder} has layers 0 to {self._encoder.num_layers}, not {settings.layer}")
        self._settings = settings
        self._device = device
        self.frame_rate = self._encoder.frame_rate
        self.dim = self._encoder.dim
        self.layout = _layout(self._encoder)
        self.checksum = weights_checksum(self._encoder)

    def stream(self, manifest: Manifest, indices: Iterable[int], threads: int) -> Iterator[tuple[int, Tensor]]:
        """Yield `(index, (frames, dim))` in order, a long recording piece by piece."""
        waveforms = read_in_order(manifest, indices, lambda waveform: waveform, threads)
        at_once = int(self._BATCHES_AT_ONCE * self._settings.batch_seconds * SAMPLE_RATE)
        window: list[_Cut] = []
        samples = 0
        for cut in self._cuts(waveforms):
            window.append(cut)
            samples += len(cut.waveform)
            if samples >= at_once:
                yield from self._encode(window)
                window, samples = [], 0
        yield from self._encode(window)

    def _cuts(self, waveforms: Iterable[tuple[int, Tensor]]) -> Iterator[_Cut]:
        most_frames = int(self._settings.max_seconds * self.frame_rate)
        context = int(CONTEXT_SECONDS * self.frame_rate)
        for index, waveform in waveforms:
            for piece in self.layout.pieces(len(waveform), most_frames, context):
                yield _Cut(index, waveform[piece.start : piece.stop], piece)

    def _encode(self, window: Sequence[_Cut]) -> Iterator[tuple[int, Tensor]]:
        frames: dict[int, Tensor] = {}
        for batch in _similar_lengths(window, int(self._settings.batch_seconds * SAMPLE_RATE)):
            cuts = [window[number] for number in batch]
            frames.update(zip(batch, self._encode_batch(cuts), strict=True))
        for number, cut in enumerate(window):
            yield cut.recording, frames.pop(number)

    @torch.inference_mode()
    def _encode_batch(self, cuts: Sequence[_Cut]) -> list[Tensor]:
        waveforms = nn.utils.rnn.pad_sequence([cut.waveform for cut in cuts], batch_first=True)
        lengths = torch.tensor([len(cut.waveform) for cut in cuts])
        output = self._encoder(waveforms.to(self._device), lengths.to(self._device))
        states = output.hidden_states[self._settings.layer].float()
        return [states[row, cut.piece.skip :][: cut.piece.keep].clone() for row, cut in enumerate(cuts)]


def _similar_lengths(window: Sequence[_Cut], most_samples: int) -> Iterator[list[int]]:
    """Yield batches of places in `window`, of similar length, with at most `most_samples` when padded."""
    by_length = sorted(range(len(window)), key=lambda number: -len(window[number].waveform))
    batch: list[int] = []
    for number in by_length:
        if batch and len(window[batch[0]].waveform) * (len(batch) + 1) > most_samples:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _layout(encoder: Encoder) -> FrameLayout:
    """Return an encoder's frame layout; its window is the shortest audio that has a frame."""
    lengths = torch.arange(1, 2 * encoder.sample_rate)
    frames = encoder.frame_lengths(lengths)
    window = int(lengths[frames > 0][0])
    layout = FrameLayout(stride=round(encoder.sample_rate / encoder.frame_rate), window=window)
    if frames.tolist() != list(map(layout.frames, lengths.tolist())):
        raise UserError("the encoder pads its front end, so long recordings cannot be cut into pieces of whole frames")
    return layout
