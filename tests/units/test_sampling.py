from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl.data.manifest import Manifest, read_manifest
from speechssl.units.features import MfccFeatures
from speechssl.units.processes import Processes
from speechssl.units.sampling import FrameSample, corpus_seconds, default_fraction, sample_recordings
from tests.units.conftest import write_corpus

CPU = torch.device("cpu")
HOUR = 3600.0


@pytest.mark.parametrize(
    ("hours", "expected"),
    [(0, 1.0), (0.2, 1.0), (1, 1.0), (2, 0.5), (10, 0.1), (960, 0.1), (2000, 0.05), (60_000, 1 / 600)],
)
def test_default_fraction_is_a_tenth_from_one_hour_to_a_hundred(hours: float, expected: float) -> None:
    assert default_fraction(hours * HOUR) == pytest.approx(expected)


def test_sampled_recordings_hold_the_fraction_of_the_audio_and_depend_on_the_seed() -> None:
    samples = np.random.default_rng(0).integers(8000, 160_000, size=2000)
    manifest = Manifest(Path("/"), [str(number) for number in range(2000)], samples, Path("train.tsv"))
    first, again, other = (sample_recordings(manifest, 0.3, seed) for seed in (0, 0, 1))
    assert corpus_seconds(manifest, first) == pytest.approx(0.3 * corpus_seconds(manifest), abs=10)
    assert (np.diff(first) > 0).all()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # Drawn from everywhere, not from the front.
    assert 850 < first.mean() < 1150
    assert len(sample_recordings(manifest, 1e-9, 0)) == 1
    assert len(sample_recordings(manifest, 1.0, 0)) == 2000


def frames_of(manifest: Manifest, most: int, processes: Processes, threads: int = 2) -> torch.Tensor:
    sample = FrameSample(manifest, MfccFeatures(CPU), np.arange(len(manifest)), most, seed=0)
    return sample.collect(threads, CPU, processes)


def test_kept_frames_are_an_equal_share_of_every_recording(tmp_path: Path) -> None:
    manifest = read_manifest(write_corpus(tmp_path, [1.0, 0.2, 2.5, 0.7, 0.3]))
    every = frames_of(manifest, 10**9, Processes())
    kept = frames_of(manifest, 200, Processes())
    assert len(every) == sum(98 + 100 * (n - 1) for n in (1.0, 0.2, 2.5, 0.7, 0.3))
    assert len(kept) == 200
    places = torch.cdist(kept, every, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    assert places.values.max() == 0
    assert len(places.indices.unique()) == 200
    recordings = np.searchsorted(np.cumsum([98, 18, 248, 68, 28]), places.indices.numpy(), side="right")
    expected = 200 * np.array([98, 18, 248, 68, 28]) / 460
    assert np.abs(np.bincount(recordings, minlength=5) - expected).max() <= 1


def test_processes_together_hold_what_one_holds(tmp_path: Path) -> None:
    manifest = read_manifest(write_corpus(tmp_path, [1.0, 0.2, 2.5, 0.7, 0.3]))
    alone = frames_of(manifest, 123, Processes(), threads=1)
    shares = [frames_of(manifest, 123, Processes(rank, 3)) for rank in range(3)]
    assert torch.equal(torch.cat(shares), alone)
