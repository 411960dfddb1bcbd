import subprocess
import sys

import pytest
import torch
from torchaudio.compliance import kaldi

from speechssl.audio.fbank import empty_bands, fbank_frames, log_mel_fbank


def waveforms(samples, batch=3):
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(batch, samples, generator=generator) + 0.05


@pytest.mark.parametrize(("num_mels", "low_hz", "high_hz"), [(80, 20.0, None), (40, 60.0, 7800.0), (64, 0.0, 4000.0)])
def test_equals_kaldi(num_mels, low_hz, high_hz):
    batch = waveforms(12345)
    ours = log_mel_fbank(batch, num_mels, low_hz, high_hz)
    for waveform, features in zip(batch, ours, strict=True):
        theirs = kaldi.fbank(
            waveform[None], dither=0.0, num_mel_bins=num_mels, low_freq=low_hz, high_freq=high_hz or 0.0
        )
        # The Fourier transform rounds to a part of a frame's loudest band, so a band far below it may differ by more.
        ours_power, power = features.exp(), theirs.exp()
        loudest = power.amax(dim=1, keepdim=True)
        torch.testing.assert_close(ours_power / loudest, power / loudest, atol=1e-7, rtol=1e-4)


def test_bands_without_a_line_give_the_floor():
    """128 bands up to 4 kHz are 10 Hz wide at the low end; lines are 31.25 Hz apart."""
    features = log_mel_fbank(waveforms(12345), 128, 20.0, 4000.0)
    assert empty_bands(128, 20.0, 4000.0) == (features == features.min()).all(dim=(0, 1)).sum() == 4
    assert empty_bands(80, 20.0, 4000.0) == 0


def test_digital_silence_is_finite_and_kaldi_s():
    silence = torch.zeros(1, 1000)
    torch.testing.assert_close(log_mel_fbank(silence)[0], kaldi.fbank(silence, dither=0.0, num_mel_bins=80))


def test_frames_within_an_utterance_do_not_see_the_padding():
    short = waveforms(5000, batch=1)
    padded = torch.cat([short, torch.full((1, 3000), 7.0)], dim=1)
    frames = fbank_frames(5000)
    torch.testing.assert_close(log_mel_fbank(padded)[:, :frames], log_mel_fbank(short), atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 559, 560, 16000])
def test_frame_count(samples):
    frames = kaldi.fbank(torch.randn(1, samples), dither=0.0).shape[0] if samples >= 400 else 0
    assert log_mel_fbank(torch.zeros(2, samples)).shape == (2, frames, 80)
    assert fbank_frames(samples) == frames
    assert fbank_frames(torch.tensor([samples])).tolist() == [frames]


def test_autocast_does_not_lower_the_precision():
    batch = waveforms(4000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = log_mel_fbank(batch)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, log_mel_fbank(batch), atol=1e-5, rtol=0)


def test_audio_and_filterbanks_work_without_torchaudio(tmp_path):
    """The encoder's base install has none; audio of another rate then says what is missing."""
    program = """
import sys
sys.modules["torchaudio"] = None
import numpy, soundfile, torch
from speechssl.audio import AudioError, read_audio
from speechssl.audio.fbank import log_mel_fbank
soundfile.write("16.wav", numpy.zeros(800), 16000)
soundfile.write("8.wav", numpy.zeros(800), 8000)
print(log_mel_fbank(read_audio("16.wav")[None]).shape[1])
try:
    read_audio("8.wav")
except AudioError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert result.stderr == ""
    assert result.stdout.splitlines()[0] == "3"
    assert "torchaudio" in result.stdout.splitlines()[1]
