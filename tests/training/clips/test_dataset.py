"""Clips are cut where they should be, and hang on the recording and the epoch only."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechssl.audio import read_audio
from speechssl.audio.augment_waveform import TimeStretchSettings, WaveformAugmentSettings
from speechssl.audio.clip import fit_clip
from speechssl.data.manifest import read_manifest, write_manifest
from speechssl.errors import UserError
from speechssl.training.clips.dataset import ClipDataset
from speechssl.training.clips.reader import ClipReader, HeldOutReader, check_enough_clips
from speechssl.training.clips.settings import ClipDataSettings
from speechssl.training.dataset import AudioCache


@pytest.fixture
def ramps(tmp_path: Path) -> Path:
    """Recordings whose samples tell their place: 1 to 30 seconds of a ramp."""
    entries = []
    for number, samples in enumerate((8_000, 16_000, 48_000, 80_000, 20_000)):
        soundfile.write(tmp_path / f"{number}.wav", np.arange(samples) / 2**17, 16_000, subtype="FLOAT")
        entries.append((f"{number}.wav", samples))
    write_manifest(tmp_path / "train.tsv", tmp_path, entries)
    return tmp_path / "train.tsv"


def dataset(manifest: Path, seed: int = 1, **settings: object) -> ClipDataset:
    return ClipDataset(str(manifest), ClipDataSettings(seconds=1.0, **settings), seed, AudioCache(1.0))  # type: ignore[arg-type]


def test_clips_that_are_not_stretched_are_of_all_places_where_others_are(ramps: Path) -> None:
    """More is read for the others. This recording is hardly longer than a clip."""
    settings = WaveformAugmentSettings(time_stretch=TimeStretchSettings(probability=0.1))
    data = dataset(ramps, waveform=settings)
    clips = [data.clip(4, epoch, 0) * 2**17 for epoch in range(60)]
    starts = {float(clip[0]) for clip in clips if torch.equal(clip, torch.arange(16_000) + clip[0])}
    assert len(starts) > 40 and min(starts) < 400 and max(starts) > 3_600


def test_short_recordings_are_padded_on_both_sides(ramps: Path) -> None:
    for clip in (dataset(ramps).clip(0, 0, 0), dataset(ramps).middle(0)):
        assert int(clip[:4_000].count_nonzero()) == 0 and int(clip[12_000:].count_nonzero()) == 0
        assert torch.equal(clip[4_000:12_000] * 2**17, torch.arange(8_000.0))


def test_a_clip_is_a_piece_of_its_recording_at_places_that_change(ramps: Path) -> None:
    data = dataset(ramps)
    starts = set()
    for epoch in range(6):
        clip = data.clip(3, epoch, 0) * 2**17
        assert torch.equal(clip, torch.arange(16_000) + clip[0])
        starts.add(float(clip[0]))
    assert len(starts) == 6 and max(starts) <= 80_000 - 16_000
    assert torch.equal(data.clip(3, 2, 0), dataset(ramps).clip(3, 2, 0))
    assert not torch.equal(data.clip(3, 2, 0), data.clip(3, 2, 1))
    assert not torch.equal(data.clip(3, 2, 0), dataset(ramps, seed=2).clip(3, 2, 0))
    assert float(data.middle(3)[0] * 2**17) == 32_000
    assert data.padded == 1


def test_a_faster_clip_is_still_full_of_sound(ramps: Path) -> None:
    settings = ClipDataSettings(seconds=1.0)
    settings.waveform.time_stretch.probability = 1.0
    settings.waveform.time_stretch.slowest = settings.waveform.time_stretch.fastest = 1.25
    data = ClipDataset(str(ramps), settings, 1, AudioCache(1.0))
    clip = data.clip(3, 0, 0)
    assert clip.shape == (16_000,) and bool((clip[-200:].abs() > 0).any())


def test_every_recording_is_read_once_an_epoch_on_any_number_of_processes(ramps: Path) -> None:
    data = dataset(ramps)
    alone = ClipReader(data, 2, 1, seed=1, rank=0, processes=1, workers=1)
    batches = [batch for update in alone for batch in update]
    assert len(batches) == alone.updates_an_epoch == 2
    assert sorted(int(row) for batch in batches for row in batch.clips) == [0, 1, 2, 3, 4]
    parts = [ClipReader(data, 2, 1, seed=1, rank=rank, processes=2, workers=1) for rank in range(2)]
    for update, *shares in zip(batches, *parts, strict=True):
        assert torch.cat([share[0].clips for share in shares]).equal(update.clips)
        assert {batch.update_seconds for (batch,) in shares} == {update.update_seconds} == {float(len(update.clips))}
        assert torch.cat([share[0].waveforms[0] for share in shares]).equal(update.waveforms[0])
    alone.reset()
    again = [int(row) for update in alone for row in update[0].clips]
    assert sorted(again) == [0, 1, 2, 3, 4] and again != [int(row) for batch in batches for row in batch.clips]


READING = """
import sys
import torch
from speechssl.training.clips.dataset import ClipDataset
from speechssl.training.clips.reader import ClipReader
from speechssl.training.clips.settings import ClipDataSettings
from speechssl.training.dataset import AudioCache
settings = ClipDataSettings(train=sys.argv[1], valid=sys.argv[1])
data = ClipDataset(sys.argv[1], settings, 1, AudioCache(1.0))
reader = ClipReader(data, 2, 1, seed=1, rank=0, processes=1, workers=1)
next(reader)
print(torch.get_num_threads())
reader.close()
"""


def test_reading_leaves_training_its_threads(ramps: Path) -> None:
    """In a process of its own: torch fixes a thread's number once, when the thread first asks."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", READING, ramps], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "2"


def test_no_two_recordings_of_a_cluster_are_in_an_update(ramps: Path) -> None:
    clusters = np.array([0, 1, 0, 0, 2])
    reader = ClipReader(dataset(ramps), 5, 1, seed=1, rank=0, processes=1, workers=1, apart=clusters)
    assert reader.updates_an_epoch == 3, "as many as the largest cluster has recordings"
    orders = []
    for _ in range(4):
        rows = [batch.clips.tolist() for update in reader for batch in update]
        assert sorted(row for update in rows for row in update) == [0, 1, 2, 3, 4]
        assert all(len(set(clusters[update])) == len(update) for update in rows)
        orders.append(rows)
        reader.reset()
    assert any(order != orders[0] for order in orders)


def test_clips_do_not_depend_on_what_is_kept(ramps: Path) -> None:
    kept = dataset(ramps)
    alone = ClipDataset(str(ramps), ClipDataSettings(seconds=1.0), 1, AudioCache(0.0))
    for row in range(5):
        assert torch.equal(alone.middle(row), kept.middle(row))
        assert torch.equal(alone.middle(row), fit_clip(read_audio(kept.manifest.audio_path(row)), 16_000))
        for epoch in range(4):
            assert torch.equal(alone.clip(row, epoch, 0), kept.clip(row, epoch, 0))


def test_held_out_clips_are_one_batch_spread_over_the_manifest(ramps: Path) -> None:
    reader = HeldOutReader(dataset(ramps), clips=3, batch=3, workers=1, labels=np.array([5, 6, 7, 8, 9]))
    ((batch,),) = list(reader)
    assert batch.clips.tolist() == [0, 2, 4] and batch.labels.tolist() == [5, 7, 9]


def test_held_out_clips_are_read_by_all_workers_and_once_where_they_are_kept(
    ramps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechssl.training.clips.reader._PIECE", 2)
    middle, rows, together = ClipDataset.middle, [], threading.Barrier(2, timeout=20)

    def noted(data: ClipDataset, row: int) -> torch.Tensor:
        rows.append(row)
        if row in (0, 2):  # the first of two pieces
            together.wait()
        return middle(data, row)

    monkeypatch.setattr(ClipDataset, "middle", noted)
    data, labels = dataset(ramps), np.array([5, 6, 7, 8, 9])
    reader = HeldOutReader(data, clips=5, batch=5, workers=2, labels=labels, keep=True)
    for _ in range(2):
        ((batch,),) = list(reader)
        assert batch.clips.tolist() == [0, 1, 2, 3, 4] and batch.labels.tolist() == labels.tolist()
        assert batch.names == [f"{row}.wav" for row in range(5)]
        for row in range(5):
            assert torch.equal(batch.waveforms[0][row], middle(data, row))
        reader.reset()
    assert sorted(rows) == [0, 1, 2, 3, 4]


def test_too_few_clips_for_the_processes_is_one_line() -> None:
    check_enough_clips(recordings=8, clips=4, processes=2)
    with pytest.raises(UserError, match="update of 3 clips cannot be split over 2 processes"):
        check_enough_clips(recordings=3, clips=4, processes=2)


def test_the_cache_of_decoded_audio_stays_within_its_memory(ramps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of 8 000 and 16 000 samples fit into 100 kB; what does not is decoded each time, to the same values."""
    decoded: list[str] = []

    def read_and_note(path: Path) -> torch.Tensor:
        decoded.append(path.stem)
        return read_audio(path)

    monkeypatch.setattr("speechssl.training.dataset.read_audio", read_and_note)
    cache = AudioCache(100e3 / 1e9)
    manifest = read_manifest(ramps)
    for _ in range(3):
        for row in range(5):
            assert torch.equal(cache.read_listed(manifest, row), read_audio(manifest.audio_path(row)))
    assert sorted(decoded) == ["0", "1", *["2"] * 3, *["3"] * 3, *["4"] * 3]
