import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechssl.data.manifest import read_manifest
from speechssl.errors import UserError
from speechssl.units.reading import read_in_order
from tests.units.conftest import write_corpus


def test_order_is_kept_though_recordings_take_different_times(tmp_path: Path) -> None:
    manifest = read_manifest(write_corpus(tmp_path, [0.3, 0.01, 0.2, 0.01, 0.1, 0.01]))
    order = [4, 0, 5, 2, 1, 3, 0]

    def slow_length(waveform: object) -> int:
        time.sleep(len(waveform) / 1e5)  # type: ignore[arg-type]
        return len(waveform)  # type: ignore[arg-type]

    found = list(read_in_order(manifest, order, slow_length, threads=3))
    assert found == [(index, int(manifest.samples[index])) for index in order]


def test_few_recordings_are_read_ahead(tmp_path: Path) -> None:
    manifest = read_manifest(write_corpus(tmp_path, [0.05]))
    taken: list[int] = []
    many = (taken.append(number) or 0 for number in range(1000))
    stream = read_in_order(manifest, many, len, threads=2)
    next(stream)
    assert len(taken) < 10
    stream.close()


def _missing(path: Path) -> None:
    path.unlink()


def _broken(path: Path) -> None:
    path.write_bytes(b"RIFF not audio")


def _shorter(path: Path) -> None:
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[:-100], rate)


def _not_finite(path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="float32")
    samples[7] = np.nan
    soundfile.write(path, samples, rate, subtype="FLOAT")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_missing, "no such file"),
        (_broken, "cannot be decoded"),
        (_shorter, "has 3900 samples at 16 kHz, but 4000 in "),
        (_not_finite, "not finite"),
    ],
)
def test_a_recording_that_has_changed_since_is_named(tmp_path: Path, damage, reason: str) -> None:  # type: ignore[no-untyped-def]
    manifest = read_manifest(write_corpus(tmp_path, [0.1, 0.25, 0.1]))
    damage(manifest.audio_path(1))
    with pytest.raises(UserError, match=reason) as error:
        list(read_in_order(manifest, range(3), len, threads=2))
    assert "train/001.wav" in str(error.value)
    assert "train.tsv" in str(error.value)
    assert "\n" not in str(error.value)
