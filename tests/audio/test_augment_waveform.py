import math

import librosa
import numpy as np
import pytest
import torch

from speechssl.audio.augment_waveform import (
    NoiseSettings,
    PitchShiftSettings,
    TimeStretchSettings,
    WaveformAugmentSettings,
    add_noise,
    augment_waveform,
    coloured_noise,
    shift_pitch,
    stretch_time,
)
from speechssl.errors import UserError


def tone(hertz, samples=16000):
    return 0.3 * torch.sin(2 * math.pi * hertz / 16000 * torch.arange(samples))


def generator(seed=0):
    return np.random.default_rng(seed)


def strongest_hertz(waveform):
    """The peak of the middle, where no edge is in reach, to about 0.5 Hz."""
    middle = waveform[len(waveform) // 4 : -(len(waveform) // 4)]
    spectrum = torch.fft.rfft(middle * torch.hann_window(len(middle)), n=32000).abs()
    return float(spectrum.argmax()) * 0.5


def snr_db(waveform, noise):
    return float(10 * torch.log10(waveform.square().mean() / noise.square().mean()))


@pytest.mark.parametrize("ratio", [-5.0, 0.0, 20.0])
def test_noise_has_the_ratio_asked_for(ratio):
    waveform = tone(440)
    noisy = add_noise(waveform, coloured_noise(16000, 1.0, generator()), ratio)
    assert snr_db(waveform, noisy - waveform) == pytest.approx(ratio, abs=0.01)


def test_silence_stays_silent():
    silence = torch.zeros(800)
    assert not add_noise(silence, coloured_noise(800, 0.0, generator()), 5.0).any()
    assert not stretch_time(silence, 1.25).any()
    assert not shift_pitch(silence, 3.0).any()


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_falls_with_its_slope(slope):
    """From 250-500 Hz to 2-4 kHz are three octaves: the mean power falls by slope * 3 * 3.01 dB."""
    power = torch.fft.rfft(coloured_noise(160000, slope, generator())).abs().square()
    low, high = power[2500:5000].mean(), power[20000:40000].mean()
    assert float(10 * torch.log10(low / high)) == pytest.approx(slope * 3 * 10 * math.log10(2), abs=0.4)


@pytest.mark.parametrize(("semitones", "hertz"), [(12, 880.0), (7, 659.26), (-5, 329.63), (0, 440.0)])
def test_pitch_moves_and_length_stays(semitones, hertz):
    shifted = shift_pitch(tone(440), semitones)
    assert len(shifted) == 16000
    # The factor is a multiple of 1/200, and the spectrum has a line every 0.5 Hz.
    assert strongest_hertz(shifted) == pytest.approx(hertz, abs=440 / 400 + 0.5)
    assert shifted.square().mean() == pytest.approx(0.3**2 / 2, rel=0.02)


@pytest.mark.parametrize(("speed", "samples"), [(0.8, 20000), (1.25, 12800), (2.0, 8000)])
def test_speed_moves_the_length_and_the_pitch_stays(speed, samples):
    stretched = stretch_time(tone(440), speed)
    assert len(stretched) == samples
    assert strongest_hertz(stretched) == pytest.approx(440, abs=1)
    assert stretched.square().mean() == pytest.approx(0.3**2 / 2, rel=0.01)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_stretching_equals_librosa_but_for_the_level(speed):
    waveform = 0.1 * coloured_noise(8000, 0.0, generator()) + tone(440, 8000)
    expected = torch.from_numpy(librosa.effects.time_stretch(waveform.numpy(), rate=speed, n_fft=512, hop_length=128))
    expected *= (waveform.square().mean() / expected.square().mean()).sqrt()
    error = stretch_time(waveform, speed) - expected
    assert error.square().mean() < 1e-4 * expected.square().mean()


def test_what_happens_in_a_clip_comes_sooner_at_a_higher_speed():
    clip = torch.cat([torch.zeros(8000), tone(1000, 8000)])
    stretched = stretch_time(clip, 1.6)
    start = int((stretched.abs() > 0.1).nonzero()[0])
    assert start == pytest.approx(5000, abs=512)


def test_the_speed_as_recorded_is_the_recording():
    waveform = tone(440) + coloured_noise(16000, 1.0, generator()) * 0.01
    torch.testing.assert_close(stretch_time(waveform, 1.0), waveform, atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [1, 2, 300, 511, 800])
@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_short_clips(samples, speed):
    waveform = tone(440, samples) + 0.1
    assert len(stretch_time(waveform, speed)) == max(round(samples / speed), 1)
    for changed in (stretch_time(waveform, speed), shift_pitch(waveform, 3.0), shift_pitch(waveform, -3.0)):
        assert changed.isfinite().all()
    assert len(shift_pitch(waveform, 3.0)) == len(shift_pitch(waveform, -3.0)) == samples


def everything(probability):
    return WaveformAugmentSettings(
        TimeStretchSettings(probability), PitchShiftSettings(probability), NoiseSettings(probability)
    )


def test_the_generator_decides_alone():
    waveform = tone(440, 4000)
    first = augment_waveform(waveform, everything(1.0), generator(3))
    np.random.seed(0)
    torch.manual_seed(0)
    assert torch.equal(augment_waveform(waveform, everything(1.0), generator(3)), first)
    other = augment_waveform(waveform, everything(1.0), generator(4))
    assert len(other) != len(first) or not torch.equal(other, first)


def test_nothing_is_done_by_default():
    waveform = tone(440, 4000)
    assert augment_waveform(waveform, WaveformAugmentSettings(), generator()) is waveform


def test_strengths_are_drawn_from_their_ranges():
    waveform = tone(440, 4000)
    draws, noise = generator(), WaveformAugmentSettings(noise=NoiseSettings(1.0))
    ratios = [snr_db(waveform, augment_waveform(waveform, noise, draws) - waveform) for _ in range(60)]
    assert 4.99 < min(ratios) < 7 < 18 < max(ratios) < 20.01
    stretch = WaveformAugmentSettings(time_stretch=TimeStretchSettings(1.0))
    lengths = [len(augment_waveform(waveform, stretch, draws)) for _ in range(60)]
    assert 3200 <= min(lengths) < 3300 < 4800 < max(lengths) <= 5000
    pitch = WaveformAugmentSettings(pitch_shift=PitchShiftSettings(1.0))
    hertz = [strongest_hertz(augment_waveform(waveform, pitch, draws)) for _ in range(60)]
    # Two semitones down and up of 440 Hz.
    assert 389 < min(hertz) < 400 < 480 < max(hertz) < 497


def test_probability_is_the_share_of_clips():
    waveform = tone(440, 400)
    draws, settings = generator(), WaveformAugmentSettings(noise=NoiseSettings(0.3))
    changed = sum(augment_waveform(waveform, settings, draws) is not waveform for _ in range(1000))
    # 14.5 is one standard deviation.
    assert changed == pytest.approx(300, abs=60)


@pytest.mark.parametrize(
    ("settings", "changed", "message"),
    [
        (NoiseSettings, {"probability": 1.5}, "probability=1.5"),
        (NoiseSettings, {"snr_low_db": 3.0}, "snr_low_db=3.0 is given, but probability=0 turns it off"),
        (PitchShiftSettings, {"high": 3.0}, "high=3.0 is given, but probability=0 turns it off"),
        (TimeStretchSettings, {"slowest": 0.9}, "slowest=0.9 is given, but probability=0 turns it off"),
        (NoiseSettings, {"snr_low_db": 30.0}, "snr_low_db=30.0 is above snr_high_db=20.0"),
        (NoiseSettings, {"steepest": -1.0}, "steepest"),
        (PitchShiftSettings, {"high": 25.0}, r"pitch_shift\.high=25\.0 must be -24 or more and at most 24"),
        (NoiseSettings, {"probability": 0.5, "snr_high_db": float("inf")}, r"snr_high_db=inf must be -200 or more"),
        (NoiseSettings, {"probability": 0.5, "snr_low_db": float("nan")}, r"snr_low_db=nan must be -200 or more"),
        (TimeStretchSettings, {"slowest": 0.0}, "slowest"),
        (TimeStretchSettings, {"fastest": 0.5}, "slowest=0.8 is above fastest=0.5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, changed, message):
    with pytest.raises(UserError, match=message):
        settings(**changed)
