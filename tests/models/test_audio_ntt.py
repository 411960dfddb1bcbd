from __future__ import annotations

import numpy as np
import pytest
import torch

from speechssl.errors import UserError
from speechssl.models.audio_ntt import AudioNTT


@pytest.fixture
def backbone() -> AudioNTT:
    torch.manual_seed(1)
    return AudioNTT().eval()


@pytest.fixture
def log_mel() -> torch.Tensor:
    return torch.randn(2, 64, 101, generator=torch.Generator().manual_seed(2))


def test_as_many_parameters_as_published(backbone):
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 5_321_856


def test_weights_have_the_names_of_published_checkpoints(backbone):
    """What nttcslab/byol-a's checkpoint of width 2048 holds."""
    shapes = {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}
    for block, (conv, norm) in enumerate(((0, 1), (4, 5), (8, 9))):
        assert shapes.pop(f"features.{conv}.weight") == (64, 64 if block else 1, 3, 3)
        assert shapes.pop(f"features.{conv}.bias") == (64,)
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert shapes.pop(f"features.{norm}.{name}") == (64,)
        assert shapes.pop(f"features.{norm}.num_batches_tracked") == ()
    assert shapes == {
        "fc.0.weight": (2048, 512),
        "fc.0.bias": (2048,),
        "fc.3.weight": (2048, 2048),
        "fc.3.bias": (2048,),
    }


@torch.no_grad()
def test_layout_on_a_case_worked_by_hand(backbone):
    """Convolutions that copy: channel c of a block is (c + 1) times the largest value of a square of the input."""
    for parameter in backbone.parameters():
        parameter.zero_()
    features, fc = backbone.features, backbone.fc
    features[0].weight[:, 0, 1, 1] = torch.arange(1.0, 65.0)
    for conv in (features[4], features[8]):
        conv.weight[torch.arange(64), torch.arange(64), 1, 1] = 1.0
    for norm in (features[1], features[5], features[9]):
        norm.weight.fill_(1.0)
        norm.eps = 0.0
    for linear in (fc[0], fc[3]):
        linear.weight[:512, :512] = torch.eye(512)
    log_mel = np.random.default_rng(0).uniform(0, 1, (2, 64, 44)).astype(np.float32)
    output = backbone(torch.from_numpy(log_mel))
    channels = np.arange(1, 65)
    for size, tap in zip((2, 4, 8), output.taps, strict=True):
        steps = 44 // size
        squares = log_mel[:, :, : steps * size].reshape(2, 64 // size, size, steps, size).max(axis=(2, 4))
        expected = (squares.mean(axis=2)[:, :, None] * channels).reshape(2, -1)
        np.testing.assert_allclose(tap.numpy(), expected, rtol=1e-5)
    expected = (squares[:, :, None] * channels[:, None]).reshape(2, 512, steps)
    np.testing.assert_allclose(output.frames[..., :512].numpy(), expected.transpose(0, 2, 1), rtol=1e-5)
    assert output.frames[..., 512:].abs().max() == 0
    pooled = expected.max(axis=2) + expected.mean(axis=2)
    np.testing.assert_allclose(output.pooled[:, :512].numpy(), pooled, rtol=1e-5)


@torch.no_grad()
def test_widths_and_frames(backbone, log_mel):
    output = backbone(log_mel)
    assert backbone.tap_dims == [tap.shape[1] for tap in output.taps] == [2048, 1024, 512]
    assert output.pooled.shape == (2, backbone.dim) == (2, 2048)
    assert output.frames.shape == (2, 12, 2048)
    # What does not fill the last step of 8 frames is left out.
    assert backbone(log_mel[..., :95]).frames.shape[1] == 11
    assert backbone(log_mel[..., :8]).frames.shape[1] == 1
    assert backbone.frame_counts(torch.tensor([101, 95, 8])).tolist() == [12, 11, 1]


def changed(before, after) -> dict[str, bool]:
    pairs = {"pooled": (before.pooled, after.pooled), "frames": (before.frames, after.frames)}
    pairs |= {f"tap {n}": pair for n, pair in enumerate(zip(before.taps, after.taps, strict=True))}
    return {name: not torch.allclose(a, b, rtol=1e-3, atol=1e-6) for name, (a, b) in pairs.items()}


@pytest.mark.parametrize(
    ("layer", "outputs"),
    [
        ("features.0", {"tap 0", "tap 1", "tap 2", "frames", "pooled"}),
        ("features.4", {"tap 1", "tap 2", "frames", "pooled"}),
        ("features.8", {"tap 2", "frames", "pooled"}),
        ("fc.0", {"frames", "pooled"}),
        ("fc.3", {"frames", "pooled"}),
    ],
)
@torch.no_grad()
def test_every_output_is_of_the_layer_that_it_is_named_for(backbone, log_mel, layer, outputs):
    """Code released with the papers took "final layer" features from the first convolution."""
    before = backbone(log_mel)
    weight = backbone.get_submodule(layer).weight
    weight.add_(0.5 * weight.std() * torch.randn_like(weight))
    found = changed(before, backbone(log_mel))
    assert {name for name, differs in found.items() if differs} == outputs


def test_dropout_is_between_the_linear_layers(backbone, log_mel):
    backbone.train()
    backbone.features.eval()
    one, two = backbone(log_mel), backbone(log_mel)
    assert changed(one, two) == {"pooled": True, "frames": True, "tap 0": False, "tap 1": False, "tap 2": False}
    hidden = backbone.fc[:3](torch.randn(1000, 512))
    # ReLU makes half of them zero, and dropout .3 of the others.
    assert (hidden == 0).float().mean().item() == pytest.approx(1 - 0.5 * 0.7, abs=0.02)


def test_mels_that_do_not_fit():
    with pytest.raises(UserError, match=r"num_mels=60 is not a multiple of 8"):
        AudioNTT(num_mels=60)
