"""Labels stay with their audio through crops; masks belong to utterances."""

from __future__ import annotations

import os

import numpy as np
import pytest
import soundfile
import torch

from speechssl.audio import read_audio
from speechssl.data.labels import LabelInfo, write_labels
from speechssl.data.manifest import read_manifest, write_manifest
from speechssl.data.masking import MaskSettings
from speechssl.errors import UserError
from speechssl.files import checksum
from speechssl.models.hubert import HubertConfig, HubertEncoder
from speechssl.training.dataset import AudioCache, PretrainDataset, manifest_inputs
from speechssl.training.settings import DataSettings


@pytest.fixture
def ramp(tmp_path):
    """One recording whose samples and labels both count time: sample n is n / 2^17, label i is i."""
    samples = 60_000
    wave = np.arange(samples) / 2**17
    soundfile.write(tmp_path / "ramp.wav", wave, 16_000, subtype="FLOAT")
    write_manifest(tmp_path / "train.tsv", tmp_path, [("ramp.wav", samples)])
    info = LabelInfo(100.0, 1000, "ramp", kmeans_sha256="", manifest_sha256=checksum(tmp_path / "train.tsv"))
    write_labels(tmp_path / "train.km", [np.arange(samples // 160 - 2)], info)
    return tmp_path


def dataset(folder, max_seconds: float, front_end: str = "waveform") -> PretrainDataset:
    encoder = HubertEncoder(HubertConfig(front_end=front_end, num_layers=1))
    settings = DataSettings(labels=[str(folder)], max_seconds=max_seconds)
    return PretrainDataset(str(folder / "train.tsv"), settings, MaskSettings(), encoder, seed=3, cache=AudioCache(1))


@pytest.mark.parametrize("front_end", ["waveform", "fbank"])
def test_labels_follow_crops(ramp, front_end):
    data = dataset(ramp, max_seconds=2.0, front_end=front_end)
    starts = set()
    for epoch in range(8):
        samples, frames = int(data.samples[0]), int(data.frames[0])
        example = data.example(0, epoch, samples, frames)
        start = round(example.waveform[0].item() * 2**17)
        starts.add(start)
        assert len(example.waveform) == samples == 32_000
        # 20 ms frames take every second 10 ms label; of 40 ms frames the second of four is nearest the centre.
        step, first = (2, 0) if front_end == "waveform" else (4, 1)
        expected = start // 160 + first + step * np.arange(frames)
        np.testing.assert_array_equal(example.labels[0], np.minimum(expected, 60_000 // 160 - 3))
    assert len(starts) > 4


def test_mask_does_not_depend_on_the_batch(ramp):
    data = dataset(ramp, max_seconds=2.0)
    one, again = data.mask(0, 5, 99), data.mask(0, 5, 99)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, data.mask(0, 6, 99))


def test_changed_audio_is_named(ramp):
    soundfile.write(ramp / "ramp.wav", np.zeros(50_000), 16_000)
    data = dataset(ramp, max_seconds=2.0)
    with pytest.raises(UserError, match=r"ramp\.wav has 50000 samples at 16 kHz, but 60000 in .*train\.tsv"):
        data.example(0, 0, 32_000, 99)


def test_a_replaced_recording_is_an_input_that_changed(ramp):
    manifest = ramp / "train.tsv"
    before = manifest_inputs(manifest)
    assert manifest_inputs(manifest) == before
    os.utime(ramp / "ramp.wav", (1, 1))
    after = manifest_inputs(manifest)
    assert {name for name in before if before[name] != after[name]} == {f"audio of {manifest}"}
    (ramp / "audio.json").write_text("{}")
    assert set(manifest_inputs(manifest)) == {str(manifest), str(ramp / "audio.json")}


def test_cache_changes_nothing(ramp):
    path = ramp / "ramp.wav"
    full, empty = AudioCache(1.0), AudioCache(0.0)
    for cache in (full, empty):
        np.testing.assert_array_equal(cache.read(path).numpy(), cache.read(path).numpy())
    np.testing.assert_array_equal(full.read(path).numpy(), empty.read(path).numpy())


@pytest.mark.parametrize(("ending", "rate"), [("wav", 16_000), ("flac", 16_000), ("flac", 8_000), ("ogg", 16_000)])
def test_a_crop_of_a_long_recording_is_decoded_alone_where_the_whole_is_not_kept(tmp_path, monkeypatch, ending, rate):
    sound = 0.3 * np.random.default_rng(0).standard_normal(6 * rate)
    soundfile.write(tmp_path / f"long.{ending}", sound, rate)
    write_manifest(tmp_path / "train.tsv", tmp_path, [(f"long.{ending}", 96_000)])
    manifest, decoded = read_manifest(tmp_path / "train.tsv"), []
    for module in ("training.dataset", "audio.stretch", "data.waveforms"):
        monkeypatch.setattr(f"speechssl.{module}.read_audio", lambda path: decoded.append(path) or read_audio(path))
    whole = read_audio(tmp_path / f"long.{ending}")
    for gigabytes, wholes in ((1.0, 1), (0.0, 1 if rate == 16_000 and ending != "ogg" else 3)):
        cache = AudioCache(gigabytes)
        decoded.clear()
        # The last one is so long that decoding all of it takes hardly longer.
        for first, samples in ((0, 16_000), (33_333, 16_000), (33_333, 40_000)):
            assert torch.equal(cache.read_stretch(manifest, 0, first, samples), whole[first : first + samples])
        assert len(decoded) == wholes


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_what_is_wrong_with_a_long_recording_is_told_of_a_crop_too(tmp_path, ending):
    file, manifest = tmp_path / f"long.{ending}", tmp_path / "train.tsv"
    soundfile.write(file, 0.3 * np.random.default_rng(0).standard_normal(96_000), 16_000)
    write_manifest(manifest, tmp_path, [(file.name, 96_001)])
    cache = AudioCache(0.0)
    with pytest.raises(UserError, match=r"has 96000 samples at 16 kHz, but 96001 in .*train\.tsv"):
        cache.read_stretch(read_manifest(manifest), 0, 0, 16_000)
    write_manifest(manifest, tmp_path, [(file.name, 96_000)])
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match=r"cannot be read|has \d+ samples at 16 kHz, but 96000 in .*train\.tsv"):
        cache.read_stretch(read_manifest(manifest), 0, 70_000, 16_000)
    file.unlink()
    with pytest.raises(UserError, match=r"cannot be read \(no such file\)"):
        cache.read_stretch(read_manifest(manifest), 0, 0, 16_000)


def test_slow_labels_follow_crops(ramp):
    """Labels of 40 ms, of an encoder of the iteration before, on frames of 20 ms: as fairseq of the whole recording."""
    info = LabelInfo(25.0, 1000, "ramp", kmeans_sha256="", manifest_sha256=checksum(ramp / "train.tsv"))
    write_labels(ramp / "train.km", [np.arange(60_000 // 640)], info)
    data = dataset(ramp, max_seconds=2.0)
    starts = set()
    for epoch in range(8):
        example = data.example(0, epoch, int(data.samples[0]), int(data.frames[0]))
        start = round(example.waveform[0].item() * 2**17) // 320
        starts.add(start % 4)
        expected = ((start + np.arange(data.frames[0])) * 25.0 / 50.0).astype(int)
        np.testing.assert_array_equal(example.labels[0], np.minimum(expected, 60_000 // 640 - 1))
    assert len(starts) > 2


def test_label_sets_with_and_without_a_sidecar_are_read_together(ramp):
    bare = ramp / "bare"
    bare.mkdir()
    (bare / "train.km").write_text(" ".join(map(str, range(60_000 // 320))) + "\n")
    encoder = HubertEncoder(HubertConfig(num_layers=1))
    settings = DataSettings(labels=[str(ramp), str(bare)], label_rate=50.0)
    data = PretrainDataset(str(ramp / "train.tsv"), settings, MaskSettings(), encoder, seed=3, cache=AudioCache(1))
    assert [labels.info.frame_rate for labels in data.labels] == [100.0, 50.0]
    alone = DataSettings(labels=[str(ramp)], label_rate=50.0)
    with pytest.raises(UserError, match=r"frame_rate"):
        PretrainDataset(str(ramp / "train.tsv"), alone, MaskSettings(), encoder, seed=3, cache=AudioCache(1))


def test_a_crop_without_a_frame_is_named_before_training(ramp):
    with pytest.raises(UserError, match=r"ramp\.wav gives 320 samples, which is no frame"):
        dataset(ramp, max_seconds=0.02)
