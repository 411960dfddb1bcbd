import math

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from speechssl.audio import AudioError, audio_length, read_audio
from speechssl.audio.inspection import inspect_audio


def tone(samples, rate, hertz=440.0, channels=1):
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)
    return np.stack([wave * (channel + 1) / channels for channel in range(channels)], axis=1)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
def test_length_is_the_ceiling_of_the_resampled_length(tmp_path, rate):
    for samples in (1, 1001, 4999):
        path = tmp_path / f"{samples}.wav"
        soundfile.write(path, tone(samples, rate), rate)
        expected = math.ceil(16000 * samples / rate)
        assert read_audio(path).shape == (expected,)
        assert audio_length(path) == expected


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "stereo.flac"
    stereo = tone(4000, 16000, channels=2)
    soundfile.write(path, stereo, 16000)
    waveform = read_audio(path)
    assert waveform.dtype == torch.float32
    np.testing.assert_allclose(waveform.numpy(), stereo.mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 96000])
@pytest.mark.parametrize("seconds", [0.25, 4.0, 4.00003, 61.7])
def test_resampling_is_torchaudio_s_in_one_piece_and_in_several(tmp_path, rate, seconds):
    path = tmp_path / "a.wav"
    noise = np.random.default_rng(0).uniform(-1, 1, math.ceil(seconds * rate)).astype(np.float32)
    soundfile.write(path, noise, rate, subtype="FLOAT")
    expected = torchaudio.transforms.Resample(rate, 16000)(torch.from_numpy(noise))
    torch.testing.assert_close(read_audio(path), expected)


@pytest.mark.parametrize("rate", [44100, 11127, 22255])
def test_a_tone_keeps_its_pitch_and_level_when_resampled(tmp_path, rate):
    """Also from the rates of old Macintoshes, for which torchaudio's filter takes gigabytes."""
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(rate, rate, hertz=1000.0), rate)
    assert len(read_audio(path)) == 16000
    spectrum = torch.fft.rfft(read_audio(path) * torch.hann_window(16000, periodic=False)).abs()
    assert spectrum.argmax() == 1000
    assert spectrum.max() == pytest.approx(0.5 * 16000 / 4, rel=0.02)


@pytest.mark.parametrize(
    ("name", "format", "subtype"),
    [("a.ogg", "OGG", "VORBIS"), ("a.opus", "OGG", "OPUS"), ("a.mp3", "MP3", None), ("a.flac", "FLAC", None)],
)
def test_formats_keep_the_sound(tmp_path, name, format, subtype):
    rate = 48000 if subtype == "OPUS" else 44100
    path = tmp_path / name
    soundfile.write(path, tone(rate, rate, hertz=1000.0), rate, format=format, subtype=subtype)
    waveform = read_audio(path)
    assert audio_length(path) == len(waveform)
    assert torch.fft.rfft(waveform[:16000]).abs().argmax() == pytest.approx(1000, abs=1)


def test_flac_of_unknown_length_is_read(tmp_path):
    """As an encoder writes it into a pipe: the number of samples in its header is 0."""
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(8000, 16000), 16000)
    whole = read_audio(path)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    torch.testing.assert_close(read_audio(path), whole)
    assert audio_length(path) == inspect_audio(path, min_seconds=0.1) == 8000


def test_raw_gsm_is_read_at_8_khz(tmp_path):
    path = tmp_path / "prompt.gsm"
    soundfile.write(path, tone(16000, 8000, hertz=500.0), 8000, format="RAW", subtype="GSM610")
    waveform = read_audio(path)
    assert path.stat().st_size == 100 * 33  # a GSM 6.10 frame is 160 samples in 33 bytes
    assert waveform.shape == (32000,)
    assert audio_length(path) == 32000
    assert torch.fft.rfft(waveform).abs().argmax() == 1000  # 500 Hz in two seconds


def test_what_cannot_be_decoded_says_why(tmp_path):
    noise, empty = tmp_path / "noise.flac", tmp_path / "empty.wav"
    noise.write_bytes(b"not audio" * 100)
    empty.touch()
    for path, reason in [(noise, "cannot be decoded"), (empty, "no bytes"), (tmp_path / "gone.wav", "no such file")]:
        with pytest.raises(AudioError, match=reason) as raised:
            read_audio(path)
        assert str(tmp_path) not in str(raised.value)
        with pytest.raises(AudioError, match=reason):
            audio_length(path)


def test_no_samples_are_no_samples(tmp_path):
    path = tmp_path / "nothing.wav"
    soundfile.write(path, np.zeros(0), 8000)
    assert read_audio(path).shape == (0,)
    assert audio_length(path) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    wave = tone(4000, 8000)
    wave[1234] = value
    soundfile.write(tmp_path / "a.wav", wave, 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match="not finite: holds NaN or infinity"):
        read_audio(tmp_path / "a.wav")
