"""Augmentation of batches of log-mel spectrograms, on the device that they are on.

All randomness comes from the generator handed in, a `torch.Generator` of the CPU, so every device draws the same
numbers; all other state is in buffers. With both in its checkpoint, a run on a processor goes on bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from speechssl.limits import named, require
from speechssl.processes import gathered, write_rows
from speechssl.settings import read_where_set, read_with
from speechssl.transfer import moved

Partners = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Of clips `(batch, mels, frames)`, the memory `(places, mels, frames)`, how many of its places are filled `()`, and
draws from [0, 1) `(batch,)`: the place `(batch,)` of what each clip is mixed with."""


def any_partner(log_mel: Tensor, memory: Tensor, filled: Tensor, draws: Tensor) -> Tensor:
    """Return a place of the memory for each clip, all alike."""
    return (draws * filled).long()


@dataclass
class MixupExpSettings:
    """Mixing with a clip seen before, in the linear domain (BYOL-A, arXiv 2103.06695)."""

    enabled: bool = True
    """Whether it is on."""
    ratio: float = field(default=0.4, metadata=read_with("enabled", True))
    """Largest share of the other clip; each clip's share is drawn between 0 and this (0.4 as published)."""
    memory: int = field(default=2048, metadata=read_with("enabled", True))
    """Clips kept to mix with, the oldest leave first (2048 as published)."""

    def __post_init__(self) -> None:
        require({"augment.mixup_exp.ratio": self.ratio}, least=0, most=1)
        require({"augment.mixup_exp.memory": self.memory}, least=1)


@dataclass
class RandomResizeCropSettings:
    """A crop of random place and size, resized to the input's (BYOL-A, arXiv 2103.06695)."""

    enabled: bool = True
    """Whether it is on."""
    canvas_mels: float = field(default=1.0, metadata=read_with("enabled", True))
    """Height of the canvas that is cropped from, in heights of the input, which lies in its middle."""
    canvas_frames: float = field(default=1.5, metadata=read_with("enabled", True))
    """Width of the canvas, in widths of the input; beyond the input the canvas is 0, the mean of normalised input."""
    smallest: float = field(default=0.6, metadata=read_with("enabled", True))
    """Smallest height and width of the crop, in heights and widths of the input."""
    largest: float = field(default=1.5, metadata=read_with("enabled", True))
    """Largest height and width of the crop, as far as the canvas allows."""

    def __post_init__(self) -> None:
        crop = "augment.random_resize_crop."
        require(named(self, "canvas_mels", "canvas_frames", prefix=crop), least=1)
        require({f"{crop}largest": self.largest}, above=0)
        require({f"{crop}smallest": self.smallest}, above=0, most=self.largest)


@dataclass
class SpecAugmentSettings:
    """Bands and spans of time set to the mean (SpecAugment, arXiv 1904.08779).

    The published widths are in frames of whole utterances. Here they are shares of the input; the numbers are this
    project's choice.
    """

    enabled: bool = False
    """Whether it is on."""
    mel_masks: int = field(default=2, metadata=read_with("enabled", True))
    """Masked bands in a clip; they may overlap."""
    mel_share: float = field(default=0.25, metadata=read_where_set("mel_masks"))
    """Width that a band stays below, as a share of the mels."""
    time_masks: int = field(default=2, metadata=read_with("enabled", True))
    """Masked spans of time in a clip; they may overlap."""
    time_share: float = field(default=0.2, metadata=read_where_set("time_masks"))
    """Length that a span stays below, as a share of the frames."""

    def __post_init__(self) -> None:
        require(named(self, "mel_masks", "time_masks", prefix="augment.spec_augment."), least=0)
        require(named(self, "mel_share", "time_share", prefix="augment.spec_augment."), least=0, most=1)


@dataclass
class AugmentSettings:
    """How a view is made of a normalised log-mel spectrogram, in this order."""

    mixup_exp: MixupExpSettings = field(default_factory=MixupExpSettings)
    """Mixing with a clip seen before."""
    random_resize_crop: RandomResizeCropSettings = field(default_factory=RandomResizeCropSettings)
    """A crop of random place and size."""
    spec_augment: SpecAugmentSettings = field(default_factory=SpecAugmentSettings)
    """Masked bands and spans of time."""


class MixupExp(nn.Module):
    """Log-mixup-exp of BYOL-A (arXiv 2103.06695): `log((1 - a) exp(x) + a exp(z))`, a drawn from U(0, ratio).

    z is drawn anew for each clip from a first-in-first-out memory of the inputs of earlier calls, as they were before
    mixing. A batch enters the memory after it was mixed, in training mode only; a clip that is not finite leaves its
    place as it was. While the memory is empty, nothing is mixed. The memory is a buffer, so checkpoints hold it: those
    of the first process, so the batches of all processes enter the memory of each.
    """

    memory: Tensor
    remembered: Tensor

    def __init__(
        self, settings: MixupExpSettings, num_mels: int, frames: int, partners: Partners = any_partner
    ) -> None:
        """Start with an empty memory for inputs of `(num_mels, frames)`; `partners` picks z."""
        super().__init__()
        self.ratio = settings.ratio
        self.partners = partners
        self.register_buffer("memory", torch.zeros(settings.memory, num_mels, frames))
        self.register_buffer("remembered", torch.zeros((), dtype=torch.int64))

    def forward(self, log_mel: Tensor, generator: torch.Generator) -> Tensor:
        """Return `(batch, mels, frames)`, each clip mixed with one of the memory.

        Args:
            log_mel: `(batch, mels, frames)`; normalised ones are taken as they are, as in BYOL-A.
            generator: draws shares and partners; on the CPU.
        """
        draws = moved(torch.rand(2, len(log_mel), generator=generator), log_mel.device)
        # Counted on the device: to read the number here would wait for all that a GPU has in hand.
        filled = self.remembered.clamp(max=len(self.memory))
        share = (self.ratio * draws[0] * (filled > 0))[:, None, None]
        partners = self.memory[self.partners(log_mel, self.memory, filled, draws[1])]
        mixed = torch.logaddexp(log_mel + torch.log1p(-share), partners + share.log())
        if self.training:
            self._remember(log_mel)
        return mixed

    def _remember(self, log_mel: Tensor) -> None:
        newest = gathered(log_mel)[-len(self.memory) :]
        places = (self.remembered + torch.arange(len(newest), device=log_mel.device)) % len(self.memory)
        write_rows(self.memory, places, newest)
        self.remembered += len(newest)


class RandomResizeCrop(nn.Module):
    """Random resize crop of BYOL-A (arXiv 2103.06695).

    The input lies in the middle of a canvas of zeros. Height and width of a crop are drawn as shares of the input's,
    limited to the canvas, then its place; the crop is resized to the input's size by bicubic interpolation. Every clip
    has its own crop.
    """

    def __init__(self, settings: RandomResizeCropSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, log_mel: Tensor, generator: torch.Generator) -> Tensor:
        """Return `(batch, mels, frames)`.

        Args:
            log_mel: `(batch, mels, frames)`, normalised.
            generator: draws the crops; on the CPU.
        """
        batch, mels, frames = log_mel.shape
        draws = moved(torch.rand(4, batch, generator=generator), log_mel.device)
        rows = self._spans(draws[0], draws[1], mels, int(self.settings.canvas_mels * mels))
        columns = self._spans(draws[2], draws[3], frames, int(self.settings.canvas_frames * frames))
        return resize_crops(log_mel, rows, columns)

    def _spans(self, scales: Tensor, places: Tensor, size: int, canvas: int) -> Tensor:
        """Return start, counted from the input's edge, and length of crops along one axis: `(2, batch)`."""
        low, high = self.settings.smallest, self.settings.largest
        lengths = ((low + scales * (high - low)) * size).long().clamp(1, canvas)
        starts = (places * (canvas - lengths + 1)).long() - (canvas - size) // 2
        return torch.stack([starts, lengths])


def resize_crops(log_mel: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Crop each clip and resize the crop to the clip's size, bicubic with aligned corners.

    Equals `torch.nn.functional.interpolate(..., mode="bicubic", align_corners=True)` of each crop. Interpolation is
    linear and goes axis by axis, so it is one matrix product an axis, whatever the crops of the batch are.

    Args:
        log_mel: `(batch, mels, frames)`.
        rows: `(2, batch)` int64: first row of each crop, and number of rows. Rows outside of the clip are 0.
        columns: the same along the frames.

    Returns:
        `(batch, mels, frames)` float32, also under autocast.
    """
    _, mels, frames = log_mel.shape
    with torch.autocast(log_mel.device.type, enabled=False):
        along_mels = _bicubic_matrix(rows[0], rows[1], mels)
        along_frames = _bicubic_matrix(columns[0], columns[1], frames)
        return along_mels @ (log_mel @ along_frames.transpose(1, 2))


def _bicubic_matrix(starts: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Return what each of `size` results takes of each of `size` inputs: `(batch, size, size)`."""
    last = lengths[:, None, None] - 1
    # A position is `index * last / intervals`; in whole numbers its fraction is exact however long the clip.
    intervals = max(size - 1, 1)
    positions = torch.arange(size, device=starts.device)[:, None] * last
    taps = positions // intervals + torch.arange(-1, 3, device=starts.device)
    # Beyond its edge a crop goes on with its last value, even where the clip has others there.
    taps = starts[:, None, None] + torch.minimum(taps.clamp(min=0), last)
    weights = _cubic_weights(positions % intervals / intervals) * ((taps >= 0) & (taps < size))
    matrix = weights.new_zeros(len(starts), size, size)
    return matrix.scatter_add_(-1, taps.clamp(0, size - 1), weights)


def _cubic_weights(fraction: Tensor) -> Tensor:
    """Return the weights of the four neighbours `(..., 4)` at `fraction` `(..., 1)` of the way from second to third.

    Keys' cubic convolution kernel with -0.75, as `torch.nn.functional.interpolate` has it.
    """
    inner = torch.cat([fraction, 1 - fraction], dim=-1)
    outer = inner + 1
    near = (1.25 * inner - 2.25) * inner.square() + 1
    far = -0.75 * (((outer - 5) * outer + 8) * outer - 4)
    return torch.cat([far[..., :1], near, far[..., 1:]], dim=-1)


class SpecAugment(nn.Module):
    """SpecAugment's masks (arXiv 1904.08779) without its time warping: bands and spans of time become 0.

    Widths and places are drawn as `torchaudio.functional.mask_along_axis_iid` draws them, for each clip anew.
    torchaudio itself draws from the process's generator only.
    """

    def __init__(self, settings: SpecAugmentSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, log_mel: Tensor, generator: torch.Generator) -> Tensor:
        """Return `(batch, mels, frames)`.

        Args:
            log_mel: `(batch, mels, frames)`, normalised, so that 0 is the mean.
            generator: draws the masks; on the CPU.
        """
        batch, mels, frames = log_mel.shape
        bands = _span_masks(batch, mels, self.settings.mel_masks, self.settings.mel_share, generator)
        spans = _span_masks(batch, frames, self.settings.time_masks, self.settings.time_share, generator)
        bands, spans = moved(bands, log_mel.device), moved(spans, log_mel.device)
        return log_mel.masked_fill(bands[:, :, None] | spans[:, None, :], 0.0)


def _span_masks(batch: int, size: int, masks: int, share: float, generator: torch.Generator) -> Tensor:
    """Draw `masks` spans shorter than `share * size` for each clip: `(batch, size)`, true where masked."""
    draws = torch.rand(masks, 2, batch, generator=generator)
    widths = draws[:, 0] * int(share * size)
    starts = (draws[:, 1] * (size - widths)).long()[..., None]
    ends = starts + widths.long()[..., None]
    places = torch.arange(size)
    return ((places >= starts) & (places < ends)).any(dim=0)


class Augmentation(nn.Module):
    """One augmentation after the other."""

    def __init__(self, steps: list[nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def forward(self, log_mel: Tensor, generator: torch.Generator) -> Tensor:
        """Return one view of each clip: `(batch, mels, frames)` to the same."""
        for step in self.steps:
            log_mel = step(log_mel, generator)
        return log_mel


def build_augmentation(
    settings: AugmentSettings, num_mels: int, frames: int, partners: Partners = any_partner
) -> Augmentation:
    """Return what makes one view of a batch of normalised log-mel spectrograms; call it once for each view.

    Args:
        settings: what is on, and how strong.
        num_mels: mels of the input.
        frames: frames of the input; the memory of `MixupExp` holds clips of this length.
        partners: picks what `MixupExp` mixes a clip with.
    """
    steps: list[nn.Module] = []
    if settings.mixup_exp.enabled:
        steps.append(MixupExp(settings.mixup_exp, num_mels, frames, partners))
    if settings.random_resize_crop.enabled:
        steps.append(RandomResizeCrop(settings.random_resize_crop))
    if settings.spec_augment.enabled:
        steps.append(SpecAugment(settings.spec_augment))
    return Augmentation(steps)
