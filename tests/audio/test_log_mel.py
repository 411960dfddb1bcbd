import math
import subprocess
import sys

import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from speechssl.audio.log_mel import LOG_OFFSET, LogMel, LogMelSettings
from speechssl.errors import UserError


def waveforms(samples, batch=3):
    """Noise that fades and a tone: energies over seven orders of magnitude."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch, samples, generator=generator) * torch.logspace(-1, -3, max(samples, 1))[:samples]
    return noise + 0.1 * torch.sin(2 * math.pi * 440 / 16000 * torch.arange(samples))


def torchaudio_log_mel(batch, settings):
    mel = MelSpectrogram(
        16000,
        n_fft=settings.n_fft,
        win_length=settings.n_fft,
        hop_length=settings.hop,
        n_mels=settings.num_mels,
        f_min=settings.low_hz,
        f_max=settings.high_hz,
        power=2,
        norm=None,
        mel_scale="htk",
    )
    return (mel(batch) + LOG_OFFSET).log()


@pytest.mark.parametrize(
    "settings",
    [LogMelSettings(), LogMelSettings(n_fft=400, hop=200, num_mels=40, low_hz=0.0, high_hz=8000.0)],
    ids=["defaults", "other"],
)
def test_equals_torchaudio(settings):
    batch = waveforms(15200)
    torch.testing.assert_close(LogMel(settings)(batch), torchaudio_log_mel(batch, settings), atol=1e-4, rtol=0)


def test_the_offset_is_the_smallest_step_of_float32():
    assert LOG_OFFSET == 2.0**-23


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 1), (1, 1), (159, 1), (160, 2), (512, 4), (513, 4), (800, 6), (15200, 96), (16000, 101)]
)
def test_any_length_gives_a_frame_a_hop(samples, frames):
    """Half a window is 512 samples: up to that, torchaudio raises, and here zeros come behind."""
    log_mel = LogMel(LogMelSettings())
    batch = waveforms(samples)
    padded = torch.cat([batch, torch.zeros(3, max(513 - samples, 0))], dim=1)
    expected = torchaudio_log_mel(padded, LogMelSettings())[..., :frames]
    assert log_mel(batch).shape == (3, 64, frames)
    torch.testing.assert_close(log_mel(batch), expected, atol=1e-4, rtol=0)
    assert log_mel.frames(samples) == frames
    assert log_mel.frames(torch.tensor([samples])).tolist() == [frames]


def test_digital_silence_is_finite():
    assert (LogMel(LogMelSettings())(torch.zeros(1, 1600)) == math.log(2.0**-23)).all()


def test_a_clip_does_not_depend_on_its_batch():
    """70 s of audio are more than is transformed at a time."""
    batch = waveforms(16000, batch=70)
    together = LogMel(LogMelSettings())(batch)
    assert together.shape == (70, 64, 101)
    for clip in (0, 40, 69):
        alone = LogMel(LogMelSettings())(batch[clip : clip + 1])[0]
        torch.testing.assert_close(together[clip], alone, atol=1e-5, rtol=0)


def test_autocast_does_not_lower_the_precision():
    batch = waveforms(4000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = LogMel(LogMelSettings())(batch)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, LogMel(LogMelSettings())(batch), atol=1e-5, rtol=0)


def test_frame_rate():
    assert LogMel(LogMelSettings()).frame_rate == 100.0
    assert LogMel(LogMelSettings(hop=320)).frame_rate == 50.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"low_hz": 7800.0}, "low_hz=7800"),
        ({"high_hz": 8001.0}, "high_hz=8001"),
        ({"hop": 0}, "hop"),
        ({"n_fft": 401}, "n_fft=401 must be even"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed, message):
    with pytest.raises(UserError, match=message):
        LogMelSettings(**changed)


def test_bands_narrower_than_the_spectrum_s_lines_are_refused():
    """128 bands from 60 Hz are 20 Hz wide at the low end; lines of a transform of 256 samples are 62.5 Hz apart."""
    with pytest.raises(UserError, match=r"bands hold no line of the spectrum of n_fft=256; lower num_mels"):
        LogMel(LogMelSettings(n_fft=256, num_mels=128))


def test_clip_encoders_front_end_works_without_torchaudio():
    program = """
import sys
sys.modules["torchaudio"] = None
import torch
from speechssl.audio.augment import AugmentSettings, build_augmentation
from speechssl.audio.log_mel import LogMel, LogMelSettings
log_mel = LogMel(LogMelSettings())(torch.zeros(2, 15200))
print(*build_augmentation(AugmentSettings(), 64, 96)(log_mel, torch.Generator()).shape)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert (result.stderr, result.stdout) == ("", "2 64 96\n")
