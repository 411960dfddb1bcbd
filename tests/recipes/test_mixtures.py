"""`tools/mixtures.py`, on voices that are tones and noises that are noise."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from speechssl.data.manifest import write_manifest
from speechssl.data.metadata import write_metadata

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000
PARTS = ("train", "valid", "test")


def record(folder: Path, sounds: dict[str, np.ndarray], speakers: dict[str, str]) -> Path:
    """Write recordings and their manifest."""
    folder.mkdir()
    for name, sound in sounds.items():
        soundfile.write(folder / name, sound, RATE, subtype="PCM_16")
    write_manifest(folder / "train.tsv", folder, [(name, len(sound)) for name, sound in sounds.items()])
    write_metadata(
        folder / "metadata.tsv", ["speaker"], [{"path": name, "speaker": who} for name, who in speakers.items()]
    )
    return folder / "train.tsv"


@pytest.fixture(scope="module")
def mixtures() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("mixtures", ROOT / "tools/mixtures.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["mixtures"] = module  # its data classes look for it there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["mixtures"]


@pytest.fixture(scope="module")
def made(mixtures: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Twenty speakers, each a tone of a second between silences; one recording of another is short."""
    folder = tmp_path_factory.mktemp("mixtures")
    times = np.arange(RATE) / RATE
    silence = np.zeros(RATE // 4)
    voices = {
        f"{who}.wav": np.concatenate([silence, 0.5 * np.sin(2 * np.pi * (200 + 50 * who) * times), silence])
        for who in range(20)
    }
    voices["short.wav"] = voices["0.wav"][:RATE]
    random = np.random.default_rng(0)
    noises = {f"noise-{number}.wav": 0.1 * random.standard_normal(2 * RATE) for number in range(10)}
    speech = record(folder / "voices", voices, {f"{who}.wav": f"{who:02d}" for who in range(20)} | {"short.wav": "00"})
    out, noise = folder / "out", record(folder / "noise", noises, {})
    options = ("--counts", 6, 2, 3, "--seconds", 1.5, "--voices", speech, "--noises", noise)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        mixtures.main([str(word) for word in (out, *options)])
    return out, told.getvalue()


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def sounds(folder: Path, row: dict[str, str], columns: Sequence[str]) -> list[np.ndarray]:
    return [soundfile.read(folder / row[column])[0] for column in columns]


def test_each_part_has_its_mixtures_and_speakers_of_its_own(made: tuple[Path, str]) -> None:
    out, told = made
    assert "left out: 1 (too short)" in told
    heard = {}
    for part, count in zip(PARTS, (6, 2, 3), strict=True):
        for task in ("sd", "se", "ss"):
            assert len(rows(out / task / f"{part}.csv")) == count
        heard[part] = {row["speaker"] for row in rows(out / "sd" / f"{part}_segments.csv")}
    assert heard["test"] <= {"04", "09", "14", "19"}
    assert heard["valid"] <= {"00", "10"}
    assert not heard["train"] & (heard["test"] | heard["valid"])


def test_a_mixture_is_the_sum_of_its_voices(made: tuple[Path, str]) -> None:
    folder = made[0] / "ss"
    for row in rows(folder / "test.csv"):
        mixture, *voices = sounds(folder, row, ("path", "source1", "source2"))
        assert len(mixture) == 1.5 * RATE
        np.testing.assert_allclose(mixture, sum(voices), atol=2 / 2**15)
        levels = [10 * np.log10(np.mean(voice**2)) for voice in voices]
        assert abs(levels[0] - levels[1]) < 2.6


def test_noise_is_as_loud_as_the_table_says(made: tuple[Path, str]) -> None:
    folder = made[0] / "se"
    for row in rows(folder / "train.csv"):
        mixture, clean = sounds(folder, row, ("path", "clean"))
        ratio = 10 * np.log10(np.mean(clean**2) / np.mean((mixture - clean) ** 2))
        assert ratio == pytest.approx(float(row["snr"]), abs=0.05)


def loudness(sound: np.ndarray, hertz: float, place: float) -> float:
    """Return how loud one tone is within .04 s of a place, in seconds."""
    size = RATE // 25
    near = np.pad(sound, size)[round(place * RATE) : round(place * RATE) + 2 * size]
    return float(np.abs(np.sum(near * np.hanning(2 * size) * np.exp(-2j * np.pi * hertz * np.arange(2 * size) / RATE))))


def test_segments_are_where_a_tone_is(made: tuple[Path, str]) -> None:
    folder = made[0] / "sd"
    segments = rows(folder / "train_segments.csv")
    for row in rows(folder / "train.csv"):
        (mixture,) = sounds(folder, row, ("path",))
        ours = [one for one in segments if one["id"] == row["id"]]
        assert len({one["speaker"] for one in ours}) == 2
        for one in ours:
            start, end, hertz = float(one["start"]), float(one["end"]), 200 + 50 * int(one["speaker"])
            loud = loudness(mixture, hertz, (start + end) / 2)
            assert all(loudness(mixture, hertz, place) > 0.5 * loud for place in (start + 0.08, end - 0.08))
            outside = [place for place in (start - 0.1, end + 0.1) if 0 < place < 1.5]
            assert all(loudness(mixture, hertz, place) < 0.2 * loud for place in outside)


def test_a_pause_is_not_drawn(mixtures: ModuleType, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pause = 0.002 * random.standard_normal(5 * RATE)
    voice = np.concatenate([pause, 0.5 * np.sin(np.arange(RATE) / 10)])
    record(tmp_path / "voices", {"a.wav": voice}, {"a.wav": "a"})
    one = mixtures.Recording(tmp_path / "voices/a.wav", len(voice), "train.tsv", "a")
    assert all(np.abs(one.stretch(RATE * 2, random)).max() > 0.4 for _ in range(5))


def test_too_few_speakers_are_an_error_of_one_line(mixtures: ModuleType, tmp_path: Path) -> None:
    tone = 0.5 * np.sin(np.arange(2 * RATE) / 10)
    speech = record(tmp_path / "voices", {"a.wav": tone, "b.wav": tone}, {"a.wav": "a", "b.wav": "b"})
    with pytest.raises(SystemExit, match=r"^mixtures\.py: train would have 1 speakers long enough for a mixture"):
        mixtures.main([str(tmp_path / "out"), "--seconds", "1", "--voices", str(speech)])
    assert not (tmp_path / "out").exists()


def test_a_part_without_noise_is_an_error(mixtures: ModuleType, tmp_path: Path) -> None:
    tone = 0.5 * np.sin(np.arange(2 * RATE) / 10)
    names = {f"{who}.wav": str(who) for who in range(20)}
    speech = record(tmp_path / "voices", dict.fromkeys(names, tone), names)
    noise = record(tmp_path / "noise", {"rain.wav": tone}, {})
    options = ("--seconds", "1", "--voices", str(speech), "--noises", str(noise))
    with pytest.raises(SystemExit, match=r"^mixtures\.py: train would have 0 noises long enough"):
        mixtures.main([str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()
