import numpy as np
import pytest
import soundfile

from speechssl.audio import AudioError, read_audio
from speechssl.audio.inspection import inspect_audio, is_silent


def noise(samples, level=0.1, seed=0):
    return level * np.random.default_rng(seed).uniform(-1, 1, samples)


@pytest.mark.parametrize(("name", "rate"), [("a.wav", 8000), ("a.flac", 44100), ("a.ogg", 22050), ("a.mp3", 44100)])
def test_gives_the_samples_that_reading_gives(tmp_path, name, rate):
    path = tmp_path / name
    soundfile.write(path, noise(30001), rate)
    assert inspect_audio(path, min_seconds=0.1) == len(read_audio(path))


def broken(path):
    path.write_bytes(b"RIFF" + bytes(40))


def truncated(path):
    soundfile.write(path, noise(16000), 16000, format="FLAC")
    path.write_bytes(path.read_bytes()[:50])


def cut_off(path):
    soundfile.write(path, noise(16000), 16000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_one(value):
    def write(path):
        samples = noise(1600)
        samples[800] = value
        soundfile.write(path, samples, 16000, subtype="FLOAT")

    return write


def samples_of(*arguments, **options):
    return lambda path: soundfile.write(path, *arguments, **options)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (broken, "cannot be decoded"),
        (truncated, "cannot be decoded|empty"),
        (cut_off, "^cut off: 15978 of 32000 bytes of sound are there$"),
        (lambda path: path.touch(), "no bytes"),
        (samples_of(np.zeros(0), 16000), "empty"),
        (samples_of(noise(1599), 16000), "too short: 0.100 s"),
        (samples_of(np.zeros(16000), 16000), "silent"),
        (samples_of(np.full(16000, 0.3), 16000), "silent"),
        (samples_of(np.stack([noise(16000), -noise(16000)], axis=1), 16000), "silent"),
        (samples_of(noise(16000, level=0.0009), 16000, subtype="FLOAT"), "silent"),
        (with_one(np.nan), "not finite"),
        (with_one(np.inf), "not finite"),
    ],
)
def test_bad_files_are_told_by_their_reason(tmp_path, write, reason):
    path = tmp_path / "a.wav"
    write(path)
    with pytest.raises(AudioError, match=reason):
        inspect_audio(path, min_seconds=0.1)


def test_quiet_speech_and_just_long_enough_pass(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(1600, level=0.002), 16000, subtype="FLOAT")
    assert inspect_audio(path, min_seconds=0.1) == 1600


def test_silence_of_a_stretch(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([noise(40000), np.full(32000, 0.25), noise(8000)]), 16000)
    assert not is_silent(path, 0, 5) and not is_silent(path, 2.6, 4.6)
    assert is_silent(path, 2.5, 4.5)
    path.write_bytes(b"RIFF" + bytes(40))
    with pytest.raises(AudioError, match="cannot be decoded"):
        is_silent(path, 0, 1)
