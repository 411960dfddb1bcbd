"""Features of a frozen encoder do not depend on what they are computed beside."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from speechssl.audio import read_audio
from speechssl.audio.clip import fit_clip
from speechssl.errors import UserError
from speechssl.evaluation.encoders.baselines import FilterbankEncoder
from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.lape.clips import Clips
from speechssl.evaluation.lape.features import pooled_features, require_frames
from speechssl.evaluation.recordings import Recording, read_recordings
from speechssl.evaluation.vectors import VectorFile
from speechssl.models.encoder import Encoder, EncoderOutput
from speechssl.models.load import load_encoder


def features(
    encoder: Encoder, recordings: list[Recording], batch_seconds: float = 4.0, workers: int = 1, seconds: float = 0.5
) -> Tensor:
    clips = Clips(seconds, workers)
    with tempfile.TemporaryDirectory() as folder:
        kept = VectorFile(Path(folder) / "kept", encoder.dim)
        return pooled_features(encoder, recordings, clips, batch_seconds, torch.device("cpu"), "the encoder", kept)


@pytest.fixture(scope="module")
def encoder(encoder_dir: Path) -> Encoder:
    return load_encoder(encoder_dir)


@pytest.fixture(scope="module")
def recordings(data_dir: Path) -> list[Recording]:
    return read_recordings(data_dir)[::3]


def test_they_are_the_means_of_the_last_hidden_state_of_each_clip_alone(
    encoder: Encoder, recordings: list[Recording]
) -> None:
    found = features(encoder, recordings)
    with torch.no_grad():
        for row in (0, 7, 20):
            clip = fit_clip(read_audio(recordings[row].audio), 8000)
            alone = encoder.eval()(clip[None]).hidden_states[-1][0].mean(dim=0)
            torch.testing.assert_close(found[row], alone, rtol=1e-4, atol=1e-5)


def test_threads_and_order_of_the_files_change_no_bit(encoder: Encoder, recordings: list[Recording]) -> None:
    once = features(encoder, recordings)
    assert torch.equal(once, features(encoder, recordings, workers=3))
    order = list(range(len(recordings)))
    random.Random(0).shuffle(order)
    torch.testing.assert_close(features(encoder, [recordings[row] for row in order]), once[order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_seconds", [0.1, 1.5, 600.0])
def test_the_batch_size_changes_nothing_beyond_rounding(
    encoder: Encoder, recordings: list[Recording], batch_seconds: float
) -> None:
    found = features(encoder, recordings, batch_seconds)
    torch.testing.assert_close(found, features(encoder, recordings), rtol=1e-5, atol=1e-6)


def test_an_encoder_left_in_training_mode_is_put_into_evaluation_mode(
    encoder: Encoder, recordings: list[Recording]
) -> None:
    expected = features(encoder, recordings)
    assert torch.equal(features(encoder.train(), recordings), expected)


def test_filterbanks_are_one_vector_of_bands(recordings: list[Recording]) -> None:
    assert features(FilterbankEncoder(100.0), recordings).shape == (len(recordings), 80)


def test_clips_without_a_frame_of_any_encoder_are_refused() -> None:
    slow, fast = (Contestant("fbank", "fbank", frame_rate=rate) for rate in (10.0, 100.0))
    require_frames([fast, slow], Clips(0.12))
    with pytest.raises(UserError, match=r"clips of 0\.1 s are too short for a frame of fbank; give a larger"):
        require_frames([fast, slow], Clips(0.1))


def test_a_broken_encoder_is_told_with_the_clip(recordings: list[Recording]) -> None:
    class Broken(FilterbankEncoder):
        def pool(self, output: EncoderOutput) -> Tensor:
            return super().pool(output) / 0 * 0

    with pytest.raises(UserError, match=r"have a vector that is not finite, the first is .*high/000\.wav"):
        features(Broken(), recordings)
