from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from speechssl.audio.log_mel import LogMelSettings
from speechssl.errors import UserError
from speechssl.models.clip_config import BackboneName, ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.encoder import Encoder

ALL = [name.value for name in BackboneName]

LENGTHS = [9_600, 5_001, 9_600, 800, 160, 5_001]
"""Samples of clips; 800 are 50 ms."""


@pytest.fixture
def clips(speechlike) -> torch.Tensor:
    """Six waveforms `(6, 9600)`."""
    return torch.cat([speechlike, speechlike.flip(1)])


@pytest.mark.parametrize("backbone", ALL)
@torch.no_grad()
def test_alone_as_in_a_batch(clip_encoder, clips, backbone):
    encoder = clip_encoder(backbone)
    padded = clips.clone()
    for row, samples in enumerate(LENGTHS):
        padded[row, samples:] = float("nan")
    together = encoder(padded, torch.tensor(LENGTHS))
    pooled = encoder.pool(together)
    assert len(together.hidden_states) == encoder.num_layers + 1 == 1
    assert pooled.shape == (6, encoder.dim) and torch.isfinite(together.hidden_states[0]).all()
    assert together.lengths.tolist() == encoder.frame_lengths(torch.tensor(LENGTHS)).tolist()
    for row, samples in enumerate(LENGTHS):
        alone = encoder(clips[row : row + 1, :samples])
        frames = int(alone.lengths[0])
        assert alone.hidden_states[0].shape == (1, frames, encoder.dim)
        assert frames == int(together.lengths[row])
        batched = together.hidden_states[0][row]
        torch.testing.assert_close(batched[:frames], alone.hidden_states[0][0], rtol=0, atol=1e-5)
        assert batched[frames:].abs().sum() == 0
        torch.testing.assert_close(pooled[row], encoder.pool(alone)[0], rtol=0, atol=1e-5)
        # What the training on views calls gives the same vector.
        direct = encoder.backbone(encoder.log_mel(clips[row : row + 1, :samples])).pooled
        torch.testing.assert_close(pooled[row], direct[0], rtol=0, atol=1e-5)
    assert (pooled[0] - pooled[2]).abs().max() > 1e-3


@pytest.mark.parametrize("backbone", ALL)
def test_gradients_alone_as_in_a_batch(clip_encoder, clips, backbone):
    encoder = clip_encoder(backbone)

    def gradients(waveforms, lengths):
        encoder.zero_grad()
        encoder.pool(encoder(waveforms, lengths)).sin().sum().backward()
        return [parameter.grad.clone() for parameter in encoder.parameters()]

    together = gradients(clips[:2], torch.tensor([9_600, 5_001]))
    alone = [gradients(clips[row : row + 1, :samples], None) for row, samples in ((0, 9_600), (1, 5_001))]
    floor = 1e-6 * max(gradient.abs().max().item() for gradient in together)
    for batched, first, second in zip(together, *alone, strict=True):
        torch.testing.assert_close(batched, first + second, rtol=1e-3, atol=1e-3 * batched.abs().max().item() + floor)


@pytest.mark.parametrize("backbone", ALL)
@torch.no_grad()
def test_short_clips_stand_between_zeros(clip_encoder, clips, backbone):
    """50 ms, which have fewer frames than one step of the backbone."""
    encoder = clip_encoder(backbone)
    short = clips[:1, :800]
    missing = encoder.field_samples - 800
    assert missing > 0
    wide = torch.nn.functional.pad(short, (missing // 2, missing - missing // 2))
    output = encoder(short)
    assert output.lengths.tolist() == [1]
    torch.testing.assert_close(output.hidden_states[0], encoder(wide).hidden_states[0], rtol=0, atol=0)
    # One sample less than the field is padded, and the field itself is not.
    assert encoder.spectrogram.frames(encoder.field_samples) == encoder.backbone.stride
    assert encoder.spectrogram.frames(encoder.field_samples - 1) < encoder.backbone.stride
    with pytest.raises(UserError, match="clip 1 of the batch has no samples"):
        encoder(clips[:2], torch.tensor([800, 0]))
    with pytest.raises(UserError, match="no clip"):
        encoder(clips[:0])
    assert encoder.frame_lengths(torch.tensor([0, 1])).tolist() == [0, 1]


@pytest.mark.parametrize(("backbone", "rate"), [("audio_ntt", 12.5), ("efficientnet_b0", 3.125), ("vit", 6.25)])
@torch.no_grad()
def test_frames_are_as_many_as_said(clip_encoder, backbone, rate):
    encoder = clip_encoder(backbone)
    assert encoder.frame_rate == rate and encoder.sample_rate == 16_000
    for samples in (encoder.field_samples, 9_599, 9_600, 16_000, 20_640, 40_000):
        found = encoder(torch.zeros(1, samples))
        assert found.hidden_states[0].shape[1] == int(encoder.frame_lengths(torch.tensor([samples]))[0])
        assert abs(found.hidden_states[0].shape[1] - samples / 16_000 * rate) <= 1
        assert torch.isfinite(found.hidden_states[0]).all()


@torch.no_grad()
def test_the_backbone_sees_a_normalised_log_mel(clip_encoder, clips):
    """torchaudio's, on BYOL-A's settings."""
    from torchaudio.transforms import MelSpectrogram

    encoder = clip_encoder("audio_ntt")
    mels = MelSpectrogram(16_000, n_fft=1024, hop_length=160, n_mels=64, f_min=60.0, f_max=7800.0)(clips)
    expected = ((mels + torch.finfo().eps).log() - encoder.norm.mean) / encoder.norm.var.sqrt()
    torch.testing.assert_close(encoder.log_mel(clips), expected, rtol=0, atol=1e-3)


def test_the_normalisation_moves_in_training_only(clip_encoder, clips):
    encoder = clip_encoder("audio_ntt", norm_updates=3)
    assert int(encoder.norm.count) == 2
    encoder(clips)
    encoder.log_mel(clips)
    assert int(encoder.norm.count) == 2
    encoder.train()
    for count in (3, 3):
        encoder.log_mel(clips)
        assert int(encoder.norm.count) == count


@pytest.mark.parametrize("backbone", ALL)
def test_features_are_of_the_deepest_layer(clip_encoder, clips, backbone):
    """Code released with the papers took "final layer" features from the first convolution."""
    encoder = clip_encoder(backbone)
    output = encoder.backbone(encoder.log_mel(clips))
    names = dict(encoder.backbone.named_parameters())
    reached = [
        {name for name, grad in zip(names, gradients(value, names), strict=True) if grad is not None}
        for value in (*output.taps, output.pooled)
    ]
    # Every tap is deeper than the one before, and what a clip's vector is made of goes through all the weights.
    assert all(shallow < deep for shallow, deep in itertools.pairwise(reached))
    assert reached[-1] == set(names)
    pooled = encoder.pool(encoder(clips))
    torch.testing.assert_close(pooled, output.pooled, rtol=0, atol=1e-5)


def gradients(value, names):
    return torch.autograd.grad(value.sum(), list(names.values()), retain_graph=True, allow_unused=True)


class Moves(TorchDispatchMode):
    """Notes operations that gather, scatter, or read back from a GPU."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if any(name in str(operation) for name in ("_local_scalar_dense", "aten.index", "new_zeros")):
            self.found.add(str(operation))
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("backbone", ALL)
@pytest.mark.parametrize("lengths", [None, torch.tensor([5_001] * 6)])
@torch.no_grad()
def test_clips_of_one_length_are_not_moved_about(clip_encoder, clips, backbone, lengths):
    encoder = clip_encoder(backbone)
    with Moves() as moves:
        output = encoder(clips, lengths)
        pooled = encoder.pool(output)
    # The lengths that are handed in are read.
    assert moves.found <= (set() if lengths is None else {"aten._local_scalar_dense.default"})
    # Beside a shorter clip each is gathered and scattered.
    samples = 9_600 if lengths is None else 5_001
    shorter = torch.zeros(1, clips.size(1))
    both = encoder(torch.cat([clips, shorter]), torch.tensor([samples] * 6 + [800]))
    assert output.lengths.tolist() == both.lengths[:6].tolist()
    torch.testing.assert_close(output.features, both.features[:6], rtol=0, atol=1e-6)
    torch.testing.assert_close(pooled, encoder.pool(both)[:6], rtol=0, atol=1e-6)


@torch.no_grad()
def test_pooling_of_audio_ntt(clip_encoder, clips):
    encoder = clip_encoder("audio_ntt")
    output = encoder(clips, torch.tensor(LENGTHS))
    frames = output.hidden_states[-1].numpy()
    for row, length in enumerate(output.lengths.tolist()):
        valid = frames[row, :length]
        np.testing.assert_allclose(encoder.pool(output)[row].numpy(), valid.max(0) + valid.mean(0), atol=1e-6)


@torch.no_grad()
def test_pooling_of_other_encoders_is_the_mean_of_valid_frames(narrow, clips):
    encoder: Encoder = narrow("base")
    output = encoder(clips[:3], torch.tensor([*LENGTHS[:2], 2000]))
    frames = output.hidden_states[-1].numpy()
    expected = [frames[row, :length].mean(0) for row, length in enumerate(output.lengths.tolist())]
    np.testing.assert_allclose(encoder.pool(output).numpy(), np.stack(expected), atol=1e-5)
    output = output._replace(lengths=torch.tensor([3, 0, 1]))
    assert encoder.pool(output)[1].abs().sum() == 0


def test_wrong_arguments(clip_encoder, clips):
    encoder = clip_encoder("vit")
    with pytest.raises(ValueError, match="mask"):
        encoder(clips, mask=torch.zeros(6, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="lengths"):
        encoder(clips, torch.tensor([9_601] * 6))
    with pytest.raises(ValueError, match="waveforms"):
        encoder(clips[0])


def test_the_default_is_the_published_encoder():
    assert sum(parameter.numel() for parameter in ClipEncoder(ClipConfig()).parameters()) == 5_321_856


@pytest.mark.parametrize("backbone", ALL)
@torch.no_grad()
def test_built_without_storage(clip_encoder, clips, backbone):
    """Settings that no other test uses: nothing of the front end may be left over without storage."""
    encoder = clip_encoder(backbone, log_mel=LogMelSettings(low_hz=77.0))
    with torch.device("meta"):
        empty = ClipEncoder(ClipConfig(BackboneName(backbone), log_mel=LogMelSettings(low_hz=78.0)))
        again = ClipEncoder(encoder.config)
    assert {tensor.device.type for tensor in empty.state_dict().values()} == {"meta"}
    again.load_state_dict(encoder.state_dict(), assign=True)
    assert torch.equal(again.eval().pool(again(clips)), encoder.pool(encoder(clips)))
    assert torch.isfinite(clip_encoder(backbone, log_mel=LogMelSettings(low_hz=78.0))(clips).features).all()


@pytest.mark.parametrize("backbone", ["audio_ntt", "vit"])  # An untrained EfficientNet multiplies small differences.
def test_bfloat16_stays_close(clip_encoder, clips, backbone):
    encoder = clip_encoder(backbone)
    lengths = torch.tensor(LENGTHS)
    exact, log_mel = encoder.pool(encoder(clips, lengths)), encoder.log_mel(clips)
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder.pool(encoder(clips, lengths))
        # The front end has a wide range of values, and stays in float32.
        assert torch.equal(encoder.log_mel(clips), log_mel)
    # The transformer adds up in float32.
    assert rough.dtype == (torch.float32 if backbone == "vit" else torch.bfloat16)
    assert (exact - rough).abs().max() > 0
    assert (exact - rough).norm() / exact.norm() < 0.03


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"norm_updates": 0}, "norm_updates"),
        ({"audio_ntt_dim": 0}, "audio_ntt_dim"),
        ({"audio_ntt_dropout": 1.0}, "audio_ntt_dropout"),
        ({"backbone": BackboneName.vit, "vit_dim": 190}, "vit_dim"),
        ({"backbone": BackboneName.vit, "vit_heads": 5}, "vit_heads"),
    ],
)
def test_contradictions_are_named(changes, name):
    with pytest.raises(UserError, match=rf"model\.{name}"):
        ClipConfig(**changes)


def test_only_the_backbone_in_use_is_checked():
    assert ClipConfig(vit_dim=64).vit_dim == 64
