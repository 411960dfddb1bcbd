from pathlib import Path

import numpy as np
import pytest
import torch

from speechssl.audio import read_audio
from speechssl.audio.mfcc import mfcc
from speechssl.data.manifest import read_manifest
from speechssl.errors import UserError
from speechssl.models.checksum import weights_checksum
from speechssl.models.encoder import Encoder
from speechssl.models.load import load_encoder
from speechssl.units.features import FeatureSettings, MfccFeatures, open_features
from tests.units.conftest import babble, write_corpus

CPU = torch.device("cpu")


def streamed(settings: FeatureSettings, manifest_file: Path, threads: int = 2) -> list[torch.Tensor]:
    """The frames of each recording, in order."""
    manifest = read_manifest(manifest_file)
    frames: dict[int, list[torch.Tensor]] = {}
    for index, part in open_features(settings, CPU).stream(manifest, range(len(manifest)), threads):
        frames.setdefault(index, []).append(part)
    assert list(frames) == list(range(len(manifest)))
    return [torch.cat(parts) for parts in frames.values()]


def test_mfcc_in_pieces_are_those_of_the_whole_recording() -> None:
    waveform = torch.from_numpy(babble(25.678, seed=5))
    features = MfccFeatures(CPU)
    whole = mfcc(waveform)
    assert features.layout.frames(len(waveform)) == len(whole) > 2500
    torch.testing.assert_close(features.frames(waveform), whole, rtol=1e-5, atol=1e-3)


def test_mfcc_come_in_the_manifests_order_for_any_number_of_threads(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path, [0.5, 3.0, 0.1, 1.0, 0.025, 2.0, 0.3], rate=8000)
    one, four = (streamed(FeatureSettings(), manifest, threads) for threads in (1, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, four, strict=True))
    for index, frames in enumerate(one):
        torch.testing.assert_close(frames, mfcc(read_audio(read_manifest(manifest).audio_path(index))))


def encoder_alone(encoder: Encoder, manifest_file: Path, layer: int) -> list[torch.Tensor]:
    manifest = read_manifest(manifest_file)
    with torch.inference_mode():
        return [
            encoder(read_audio(manifest.audio_path(index))[None]).hidden_states[layer][0]
            for index in range(len(manifest))
        ]


def test_encoder_frames_are_those_of_each_recording_alone(tmp_path: Path, encoder_folder: Path) -> None:
    manifest = write_corpus(tmp_path, [0.4, 2.0, 0.9, 0.1, 1.4, 3.0])
    settings = FeatureSettings(kind="encoder", encoder=str(encoder_folder), layer=2, batch_seconds=3.5)
    found = streamed(settings, manifest)
    for ours, alone in zip(found, encoder_alone(load_encoder(encoder_folder), manifest, 2), strict=True):
        torch.testing.assert_close(ours, alone, rtol=1e-4, atol=1e-4)


def test_long_recordings_lose_no_frame_and_are_nearly_those_of_the_whole(tmp_path: Path, encoder_folder: Path) -> None:
    manifest = write_corpus(tmp_path, [11.37, 0.5, 4.02])
    whole = FeatureSettings(kind="encoder", encoder=str(encoder_folder), layer=0)
    pieces = FeatureSettings(kind="encoder", encoder=str(encoder_folder), layer=0, max_seconds=2.0, batch_seconds=5)
    for expected, found in zip(streamed(whole, manifest), streamed(pieces, manifest), strict=True):
        assert found.shape == expected.shape
        similarity = torch.cosine_similarity(found, expected)
        assert similarity.mean() > 0.98


def test_what_does_not_fit_is_one_clear_line(encoder_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="layers 0 to 2, not 9"):
        open_features(FeatureSettings(kind="encoder", encoder=str(encoder_folder), layer=9), CPU)
    with pytest.raises(UserError, match=r"needs features\.encoder"):
        FeatureSettings(kind="encoder")
    with pytest.raises(UserError, match="does not go with features=mfcc"):
        FeatureSettings(encoder="exp/x")
    with pytest.raises(UserError, match="mffc is not one of mfcc, encoder"):
        FeatureSettings(kind="mffc")


def test_checksum_follows_the_weights_and_not_the_file(encoder_folder: Path) -> None:
    encoder = load_encoder(encoder_folder)
    before = weights_checksum(encoder)
    assert before == weights_checksum(load_encoder(encoder_folder))
    with torch.no_grad():
        next(encoder.parameters()).view(-1)[0] += np.float32(1e-3)
    assert weights_checksum(encoder) != before
