"""Our encoders as an upstream of s3prl, against s3prl's own HuBERT with the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from speechssl.errors import UserError
from speechssl.evaluation.encoders.baselines import FilterbankEncoder
from speechssl.evaluation.encoders.s3prl_upstream import Upstream, register
from speechssl.export import s3prl
from speechssl.models.clip_config import BackboneName, ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.save import save_encoder
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.encoders.test_contestants import LENGTHS, hubert, noise


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    save_encoder(folder, hubert())
    s3prl.write(hubert(), None, folder)
    return folder


def upstream(name: str, path: Path, **options: Any) -> Any:
    register()
    with guarded_s3prl():
        from s3prl.nn import S3PRLUpstream

        return S3PRLUpstream(name, path_or_url=str(path), extra_conf=options).eval()


def test_it_gives_what_the_hubert_of_s3prl_does(folder: Path) -> None:
    ours, theirs = upstream("speechssl", folder), upstream("hubert_local", folder / "model.pt")
    assert ours.downsample_rates == theirs.downsample_rates and ours.hidden_sizes == theirs.hidden_sizes
    lengths = torch.full((3,), 16_000)
    with torch.no_grad():
        (found, frames), (expected, their_frames) = ours(noise(), lengths), theirs(noise(), lengths)
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert torch.stack(frames).equal(torch.stack(their_frames))


def test_no_utterance_depends_on_those_beside_it(folder: Path) -> None:
    model = upstream("speechssl", folder)
    with torch.no_grad():
        together, frames = model(noise(), LENGTHS)
        alone, _ = model(noise()[1:2, :9_500], LENGTHS[1:2])
    count = int(frames[-1][1])
    assert count == -(-9_500 // 320)
    torch.testing.assert_close(together[-1][1, :count], alone[-1][0])


def test_a_featurizer_learns_on_it(tmp_path: Path) -> None:
    """An encoder of clips has one hidden state, 12.5 a second."""
    torch.manual_seed(3)
    save_encoder(tmp_path, ClipEncoder(ClipConfig(audio_ntt_dim=64)))
    model = upstream("speechssl", tmp_path)
    with guarded_s3prl():
        from s3prl.nn import Featurizer

        featurizer = Featurizer(model)
    states, lengths = featurizer(*model(noise(), LENGTHS))
    assert states.shape == (3, -(-16_000 // 1280), 64) and lengths.tolist() == [13, 8, 13]
    states.mean().backward()
    assert model.upstream.encoder.backbone.fc[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("backbone", BackboneName)
@pytest.mark.parametrize("samples", [1_500, 5_120, 16_000])
def test_frames_are_as_many_as_s3prl_counts(backbone: BackboneName, samples: int) -> None:
    """Of short utterances an encoder of clips has half of them, or more."""
    encoder = ClipEncoder(ClipConfig(backbone=backbone)).eval()
    model = Upstream(encoder)
    with torch.no_grad():
        (state,) = model([torch.randn(samples), torch.randn(samples // 2)])["hidden_states"]
    assert state.shape[1] == len(range(0, samples, model.get_downsample_rates("hidden_states")))


def test_s3prl_lists_it_among_its_upstreams() -> None:
    register()
    from s3prl.nn import S3PRLUpstream

    assert "speechssl" in S3PRLUpstream.available_names()


def test_what_it_cannot_do_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the upstream speechssl has the option ckpt alone, not layer"):
        upstream("speechssl", folder, layer=3)
    with pytest.raises(UserError, match="does not exist"):
        upstream("speechssl", tmp_path / "none")
    short = [torch.zeros(16_000), torch.zeros(100)]
    with pytest.raises(UserError, match="utterance 1 of the batch has 100 samples: the encoder needs at least 400"):
        upstream("speechssl", folder).upstream(short)
    # Encoders of other libraries do not look at lengths themselves.
    with pytest.raises(UserError, match="an utterance of 100 samples is too short for a frame of the encoder"):
        Upstream(FilterbankEncoder(100))(short)
