from __future__ import annotations

import math

import pytest
import torch

from speechssl.errors import UserError
from speechssl.models.vit import VisionTransformer, patch_positions


@pytest.fixture
def backbone() -> VisionTransformer:
    torch.manual_seed(1)
    return VisionTransformer(dim=24, num_layers=3, num_heads=2, ffn_dim=32).eval()


@torch.no_grad()
def test_equals_torch_on_patches_cut_by_hand(backbone):
    layer = torch.nn.TransformerEncoderLayer(24, 2, 32, activation="gelu", batch_first=True, norm_first=True)
    theirs = torch.nn.TransformerEncoder(layer, 3, torch.nn.LayerNorm(24), enable_nested_tensor=False).eval()
    theirs.layers.load_state_dict(backbone.layers.state_dict())
    log_mel = torch.randn(2, 64, 90)
    patches = [log_mel[:, 16 * row :, 16 * time :][:, :16, :16] for row in range(4) for time in range(5)]
    flat = torch.stack([patch.reshape(2, 256) for patch in patches], dim=1)
    x = flat @ backbone.patches.weight.reshape(24, 256).T + backbone.patches.bias + patch_positions(4, 5, 24)
    expected = theirs(x)
    output = backbone(log_mel)
    torch.testing.assert_close(output.pooled, expected.mean(dim=1), rtol=0, atol=1e-5)
    at_time_2 = expected[:, [2, 7, 12, 17]].mean(dim=1)
    torch.testing.assert_close(output.frames[:, 2], at_time_2, rtol=0, atol=1e-5)
    for number, tap in enumerate(output.taps):
        x = theirs.layers[number](x)
        torch.testing.assert_close(tap, x.mean(dim=1), rtol=0, atol=1e-5)
    assert backbone.tap_dims == [24, 24] and output.frames.shape == (2, 5, 24)


def test_positions_by_hand():
    positions = patch_positions(4, 7, 8)
    assert positions.shape == (28, 8)
    # Row 3, column 5; the rates of a half of width 4 are 1 and 1/100.
    row, column = 3, 5
    expected = [f(place * rate) for place in (row, column) for f in (math.sin, math.cos) for rate in (1, 0.01)]
    torch.testing.assert_close(positions[3 * 7 + 5], torch.tensor(expected), rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_order_of_patches_matters(backbone):
    log_mel = torch.randn(1, 64, 96)
    backwards = log_mel.unflatten(2, (6, 16)).flip(2).flatten(2)
    assert not torch.allclose(backbone(log_mel).pooled, backbone(backwards).pooled, atol=1e-3)


@torch.no_grad()
def test_what_the_layers_add_up_stays_wide_under_autocast(backbone):
    kinds = []
    for layer in backbone.layers:
        layer.register_forward_hook(lambda _, inputs, output: kinds.extend([inputs[0].dtype, output.dtype]))
    with torch.autocast("cpu", torch.bfloat16):
        backbone.train()(torch.randn(2, 64, 96))
    assert set(kinds) == {torch.float32}


def test_layers_start_with_different_weights(backbone):
    first, second, _ = (layer.linear1.weight for layer in backbone.layers)
    assert not torch.equal(first, second)


def test_mels_that_do_not_fit():
    with pytest.raises(UserError, match=r"num_mels=40 is not a multiple of 16"):
        VisionTransformer(num_mels=40)
