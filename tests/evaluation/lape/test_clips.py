"""Clips have one length: padded or cut on both sides, whatever the file's rate, channels and length."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.audio import read_audio
from speechssl.errors import UserError
from speechssl.evaluation.lape.clips import Clips
from speechssl.evaluation.recordings import Recording
from tests.evaluation.lape.conftest import tone


def recording(path: Path, samples: int | None = None) -> Recording:
    return Recording(path.name, path.parent, len(read_audio(path)) if samples is None else samples, "train", {})


def write(path: Path, rate: int, seconds: float, channels: int = 1) -> Recording:
    wave = tone(440.0, seconds, 0.05, seed=rate + channels, rate=rate)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate)
    return recording(path)


def test_every_rate_length_and_number_of_channels_gives_the_same_shape(tmp_path: Path) -> None:
    found = [
        write(tmp_path / "short.wav", 16000, 0.05),
        write(tmp_path / "telephone.wav", 8000, 1.0),
        write(tmp_path / "studio.wav", 96000, 0.7, channels=2),
        write(tmp_path / "long.wav", 16000, 75.0),
    ]
    (batch,) = Clips(0.5, workers=2).batches(found, size=4)
    assert batch.shape == (4, 8000)
    short = read_audio(found[0].audio)
    assert torch.equal(batch[0, 3600:4400], short) and int(batch[0, :3600].count_nonzero()) == 0
    middle = read_audio(found[3].audio)[(75 * 16000 - 8000) // 2 :][:8000]
    assert torch.equal(batch[3], middle)


def test_clips_come_in_order_whatever_the_threads_and_are_read_once(tmp_path: Path) -> None:
    found = [write(tmp_path / f"{number}.wav", 16000, 0.05 + 0.03 * (number % 7)) for number in range(20)]
    one, four = Clips(0.2, workers=1), Clips(0.2, workers=4)
    first, second = (torch.cat(list(clips.batches(found, size=3))) for clips in (one, four))
    assert torch.equal(first, second) and first.shape == (20, 3200)
    for item in found:
        item.audio.unlink()
    assert torch.equal(torch.cat(list(four.batches(found, size=8))), first)


def test_what_does_not_fit_into_memory_is_read_again(tmp_path: Path) -> None:
    found = [write(tmp_path / f"{number}.wav", 16000, 0.2) for number in range(3)]
    clips = Clips(0.2, workers=1, cache_gb=2 * 3200 * 4e-9)
    list(clips.batches(found, size=3))
    found[2].audio.unlink()
    with pytest.raises(UserError, match=r"2\.wav, listed in .*, cannot be read \(no such file\): restore it"):
        list(clips.batches(found, size=3))


def test_audio_of_another_length_than_its_manifest_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 16000, 0.2)
    with pytest.raises(UserError, match=r"a\.wav has 3200 samples at 16 kHz, but 3000 in "):
        list(Clips(0.2).batches([recording(tmp_path / "a.wav", 3000)], size=1))
