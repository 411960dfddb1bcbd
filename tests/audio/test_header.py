from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.audio import AudioError, read_audio
from speechssl.audio.decode import audio_length
from speechssl.audio.header import AudioHeader, read_header


def write(path: Path, rate: int = 16000, channels: int = 1, seconds: int = 10) -> Path:
    noise = 0.1 * np.random.default_rng(rate).standard_normal((seconds * rate, channels))
    soundfile.write(path, noise, rate)
    return path


@pytest.mark.parametrize("ending", ["wav", "aiff", "au", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (8000, 2), (44100, 2)])
def test_a_whole_file_tells_what_it_is(tmp_path: Path, ending: str, rate: int, channels: int):
    path = write(tmp_path / f"a.{ending}", rate, channels)
    assert read_header(path) == AudioHeader(len(read_audio(path)), rate, channels)


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("wav", r"of 320000 bytes of sound are there"),
        ("aiff", r"of 3200\d\d bytes of sound are there"),
        ("au", r"of 320000 bytes of sound are there"),
        ("ogg", "its last page is missing"),
        ("mp3", r"of 160000 samples are there"),
    ],
)
def test_a_file_without_its_end_is_refused(tmp_path: Path, ending: str, message: str):
    path = write(tmp_path / f"a.{ending}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=rf"^cut off: .*{message}$"):
        read_header(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_from_a_pipe_does_not_know_its_size(tmp_path: Path, size: int):
    path = write(tmp_path / "a.wav")
    content = path.read_bytes()
    path.write_bytes(content[:40] + size.to_bytes(4, "little") + content[44:])
    assert read_header(path).samples == 160_000


def test_the_length_of_an_mp3_is_found_behind_a_tag(tmp_path: Path):
    path = write(tmp_path / "a.mp3")
    content = path.read_bytes()
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 2, 4]) + bytes(260)
    path.write_bytes(tag + content)
    assert read_header(path).samples == 160_000
    path.write_bytes(tag + content[: len(content) // 2])
    with pytest.raises(AudioError, match="cut off"):
        read_header(path)


def test_an_mp3_is_one_by_its_content(tmp_path: Path):
    content = write(tmp_path / "a.mp3").read_bytes()
    path = tmp_path / "a.wav"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="cut off"):
        read_header(path)
    assert audio_length(path) == len(read_audio(path))


def test_no_file_and_no_audio(tmp_path: Path):
    with pytest.raises(AudioError, match="no such file"):
        read_header(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_text("no audio")
    with pytest.raises(AudioError, match="cannot be decoded"):
        read_header(tmp_path / "a.wav")
