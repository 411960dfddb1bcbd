from __future__ import annotations

import sys

import pytest
import torch

from speechssl.errors import UserError
from speechssl.models.efficientnet import EfficientNet


@pytest.fixture
def backbone() -> EfficientNet:
    torch.manual_seed(1)
    return EfficientNet().eval()


def test_parameters(backbone):
    # torchvision documents 5 288 548 with a classifier of 1000 classes and a first convolution of three channels.
    published = 5_288_548 - (1280 * 1000 + 1000) - 2 * 32 * 3 * 3
    assert sum(parameter.numel() for parameter in backbone.parameters()) == published


@torch.no_grad()
def test_equals_torchvision(backbone):
    """On a picture of which two channels are black."""
    from torchvision.models import efficientnet_b0

    theirs = efficientnet_b0(weights=None, num_classes=1)
    theirs.classifier = torch.nn.Identity()
    weights = {f"features.{name}": tensor for name, tensor in backbone.features.state_dict().items()}
    first = "features.0.0.weight"
    weights[first] = torch.nn.functional.pad(weights[first], (0, 0, 0, 0, 0, 2))
    theirs.load_state_dict(weights)
    log_mel = torch.randn(2, 64, 101)
    picture = torch.stack([log_mel, torch.zeros_like(log_mel), torch.zeros_like(log_mel)], dim=1)
    torch.testing.assert_close(backbone(log_mel).pooled, theirs.eval()(picture), rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_widths_and_frames(backbone):
    output = backbone(torch.randn(2, 64, 101))
    assert backbone.tap_dims == [tap.shape[1] for tap in output.taps] == [40 * 8, 112 * 4, 320 * 2]
    assert output.pooled.shape == (2, backbone.dim)
    torch.testing.assert_close(backbone.pool(output.frames), output.pooled)
    for frames in (32, 33, 64, 65, 101):
        found = backbone(torch.randn(1, 64, frames)).frames
        assert found.shape == (1, int(backbone.frame_counts(torch.tensor(frames))), 1280)
    assert EfficientNet(num_mels=80).tap_dims == [400, 560, 960]


def test_without_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.delitem(sys.modules, "torchvision.models", raising=False)
    with pytest.raises(UserError, match=r"package 'torchvision.*pip install -e '\.\[train\]'"):
        EfficientNet()
