"""The log-mel spectrogram of the clip encoders, in plain torch, for batches.

Equals `torchaudio.transforms.MelSpectrogram` (centred, reflected edges, HTK's mel scale, bands of peak 1) followed by
a logarithm. It is here a second time because the encoder's base install has no torchaudio.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechssl.audio.decode import SAMPLE_RATE
from speechssl.errors import UserError
from speechssl.limits import named, require

LOG_OFFSET = torch.finfo(torch.float32).eps
"""Added to the energies before the logarithm, so that digital silence is finite (about -15.9)."""

_BLOCK = 64 * SAMPLE_RATE
"""Samples transformed at a time: on CPUs, 512 clips in one piece take two to three times as long."""

Count = TypeVar("Count", int, Tensor)


@dataclass
class LogMelSettings:
    """Log-mel spectrogram of audio at 16 kHz, with the sizes of BYOL-A (arXiv 2103.06695), UnFuSeD and LAPE.

    The mel scale is HTK's with bands of one height, as in torchaudio and so in BYOL-A's code. LAPE's code, and the
    weights that BYOL-A published, have librosa's: Slaney's scale, bands of one area.
    """

    n_fft: int = 1024
    """Samples in a window, which is also the length of the Fourier transform (64 ms)."""
    hop: int = 160
    """Samples between frames (10 ms)."""
    num_mels: int = 64
    """Mel bands."""
    low_hz: float = 60.0
    """Lower edge of the first band."""
    high_hz: float = 7800.0
    """Upper edge of the last band."""

    def __post_init__(self) -> None:
        require({"log_mel.n_fft": self.n_fft}, least=2)
        if self.n_fft % 2:
            raise UserError(f"log_mel.n_fft={self.n_fft} must be even: windows are centred")
        require(named(self, "hop", "num_mels", prefix="log_mel."), least=1)
        if not 0 <= self.low_hz < self.high_hz <= SAMPLE_RATE / 2:
            raise UserError(
                f"log_mel: low_hz={self.low_hz:g} and high_hz={self.high_hz:g} must rise within 0 to {SAMPLE_RATE // 2}"
            )


class LogMel(nn.Module):
    """Waveforms to log-mel spectrograms: power spectrum under a Hann window, mel bands, `log(x + eps)`."""

    def __init__(self, settings: LogMelSettings) -> None:
        """Check that every band holds a line of the spectrum.

        Raises:
            UserError: a band is narrower than the spectrum's lines are apart.
        """
        super().__init__()
        self.settings = settings
        empty = int((_mel_matrix_of(settings, torch.device("cpu")).amax(dim=0) == 0).sum())
        if empty:
            raise UserError(
                f"log_mel: {empty} of num_mels={settings.num_mels} bands hold no line of the spectrum of "
                f"n_fft={settings.n_fft}; lower num_mels or raise n_fft"
            )

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return SAMPLE_RATE / self.settings.hop

    def frames(self, samples: Count) -> Count:
        """Return the number of frames of a waveform of `samples` samples: one every hop, the first at sample 0."""
        return samples // self.settings.hop + 1

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return the log-mel spectrograms. Computed in float32 even under autocast.

        Args:
            waveforms: `(batch, samples)` at 16 kHz, of any length. Up to half a window (`n_fft // 2` samples) there is
                nothing to reflect at the edges: so short a waveform is first padded with zeros.

        Returns:
            `(batch, num_mels, frames)` float32 with `frames = samples // hop + 1`. Frame t is centred on sample
            `t * hop`, so the last frames see the reflected end: they change when padding is put behind the waveform.
        """
        samples = waveforms.shape[-1]
        missing = self.settings.n_fft // 2 + 1 - samples
        with torch.autocast(waveforms.device.type, enabled=False):
            padded = functional.pad(waveforms.float(), (0, max(missing, 0)))
            blocks = padded.split(max(_BLOCK // padded.shape[-1], 1))
            energies = torch.cat([self._energies(block) for block in blocks])[..., : self.frames(samples)]
            return (energies + LOG_OFFSET).log()

    def _energies(self, waveforms: Tensor) -> Tensor:
        """Return the energies of the bands `(batch, num_mels, frames)`."""
        window = _hann_window(self.settings.n_fft, waveforms.device)
        spectrum = torch.stft(
            waveforms, self.settings.n_fft, self.settings.hop, window=window, pad_mode="reflect", return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return _mel_matrix_of(self.settings, waveforms.device).T @ power


def _mel_matrix_of(settings: LogMelSettings, device: torch.device) -> Tensor:
    return _mel_matrix(settings.n_fft, settings.num_mels, settings.low_hz, settings.high_hz, device)


@functools.lru_cache(maxsize=8)
def _hann_window(samples: int, device: torch.device) -> Tensor:
    with torch.device("cpu"):
        return torch.hann_window(samples, dtype=torch.float64).float().to(device)


@functools.lru_cache(maxsize=8)
def _mel_matrix(n_fft: int, num_mels: int, low_hz: float, high_hz: float, device: torch.device) -> Tensor:
    """Return triangular mel bands `(bins, num_mels)`; the triangles are linear in hertz, their corners even in mels."""
    # Also where an encoder is built without storage (torch.device("meta")), a table is kept for the others.
    with torch.device("cpu"):
        lines = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / n_fft
        low, high = _hertz_to_mel(torch.tensor([low_hz, high_hz], dtype=torch.float64)).tolist()
        corners = _mel_to_hertz(torch.linspace(low, high, num_mels + 2, dtype=torch.float64))
        left, centre, right = corners[:-2], corners[1:-1], corners[2:]
        rising = (lines[:, None] - left) / (centre - left)
        falling = (right - lines[:, None]) / (right - centre)
        return torch.minimum(rising, falling).clamp(min=0).float().to(device)


def _hertz_to_mel(hertz: Tensor) -> Tensor:
    return 2595.0 * torch.log10(1.0 + hertz / 700.0)


def _mel_to_hertz(mels: Tensor) -> Tensor:
    return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
