"""A stretch of a file is the same, bit by bit, as a cut of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.audio import AudioError, read_audio, stretch
from speechssl.audio.stretch import read_stretch

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "24.wav": ("WAV", "PCM_24"),
    "float.wav": ("WAV", "FLOAT"),
    "law.wav": ("WAV", "ULAW"),
    "x.wav": ("WAVEX", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "24.flac": ("FLAC", "PCM_24"),
    "aiff": ("AIFF", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
ALONE = ("wav", "24.wav", "float.wav", "x.wav", "flac", "24.flac")


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("rate", [16000, 8000, 44100])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_stretch_is_a_cut_of_the_whole_and_decoded_alone_where_that_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, rate: int, channels: int
) -> None:
    if ending == "opus" and rate == 44100:
        rate = 48000
    file = tmp_path / f"long.{ending}"
    container, subtype = FORMATS[ending]
    sound = 0.3 * np.random.default_rng(1).standard_normal((3 * rate, channels))
    soundfile.write(file, sound, rate, format=container, subtype=subtype)
    whole = read_audio(file)
    decoded: list[Path] = []
    monkeypatch.setattr(stretch, "read_audio", lambda path: decoded.append(path) or read_audio(path))
    for first, samples in ((0, 100), (12345, 8000), (40000, 8000), (47000, 5000), (0, 60000)):
        found, length = read_stretch(file, first, samples)
        assert torch.equal(found, whole[first : first + samples]) and length == len(whole)
    assert len(decoded) == (1 if rate == 16000 and ending in ALONE else 5)


def test_values_that_are_not_finite_are_told_where_they_are_decoded(tmp_path: Path) -> None:
    wave = np.zeros(1000, np.float32)
    wave[900] = np.nan
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    assert torch.equal(read_stretch(tmp_path / "a.wav", 0, 900)[0], torch.zeros(900))
    with pytest.raises(AudioError, match="not finite"):
        read_stretch(tmp_path / "a.wav", 0, 901)
