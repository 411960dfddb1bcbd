from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from speechssl.errors import UserError
from speechssl.models import transformer
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import SIZES, HubertConfig, size_config

ALL = ["base", "large", "stack", "conv"]


@pytest.mark.parametrize("shape", ALL)
@torch.no_grad()
def test_alone_as_in_a_batch(narrow, speechlike, shape):
    encoder = narrow(shape)
    lengths = torch.tensor([9_600, 5_001, 2_321])
    padded = speechlike.clone()
    padded[1, 5_001:] = float("nan")
    padded[2, 2_321:] = 1e6
    # Garbage after the longest, too.
    padded = torch.cat([padded, torch.full((3, 777), float("inf"))], dim=1)
    together = encoder(padded, lengths)
    assert together.lengths.tolist() == encoder.frame_lengths(lengths).tolist()
    for index, samples in enumerate(lengths.tolist()):
        alone = encoder(speechlike[index : index + 1, :samples])
        frames = int(together.lengths[index])
        assert alone.features.shape[1] == frames == int(alone.lengths[0])
        torch.testing.assert_close(together.features[index, :frames], alone.features[0], rtol=0, atol=1e-4)
        for batched, single in zip(together.hidden_states, alone.hidden_states, strict=True):
            assert torch.isfinite(batched).all()
            torch.testing.assert_close(batched[index, :frames], single[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", ALL)
def test_gradients_alone_as_in_a_batch(narrow, speechlike, shape):
    """Padding must not reach the weights either: the gradient of a batch is the sum of the gradients alone."""
    encoder = narrow(shape)
    lengths = torch.tensor([9_600, 5_001])

    def gradients(waveforms, sizes):
        encoder.zero_grad()
        output = encoder(waveforms, sizes)
        rows = [output.hidden_states[-1][i, :n].sin().sum() for i, n in enumerate(output.lengths.tolist())]
        torch.stack(rows).sum().backward()
        return [p.grad.clone() for p in encoder.parameters() if p.grad is not None]

    padded = speechlike[:2].clone()
    padded[1, 5_001:] = float("nan")
    together = gradients(padded, lengths)
    alone = [gradients(speechlike[i : i + 1, :n], None) for i, n in enumerate(lengths.tolist())]
    # Some gradients are zero but for rounding (the bias of the keys), so the largest of all sets a floor.
    floor = 1e-6 * max(gradient.abs().max().item() for gradient in together)
    for batched, first, second in zip(together, *alone, strict=True):
        largest = batched.abs().max().item()
        torch.testing.assert_close(batched, first + second, rtol=1e-3, atol=1e-3 * largest + floor)


@pytest.mark.parametrize("shape", ALL)
def test_too_short_names_the_minimum(narrow, shape):
    encoder = narrow(shape)
    least = encoder.min_samples
    assert encoder.frame_lengths(torch.tensor([least, least - 1, 0])).tolist() == [1, 0, 0]
    assert encoder(torch.zeros(1, least)).hidden_states[0].shape == (1, 1, encoder.dim)
    for lengths in ([16_000, least - 1], [16_000, 0]):
        with pytest.raises(UserError, match=f"utterance 1 .* at least {least} "):
            encoder(torch.zeros(2, 16_000), torch.tensor(lengths))
    with pytest.raises(UserError, match=f"at least {least} "):
        encoder(torch.zeros(1, 0))
    with pytest.raises(UserError, match="no utterance"):
        encoder(torch.zeros(0, 16_000))


def test_minimum_of_the_published_front_end(narrow):
    # 25 ms: the receptive field that arXiv 2006.11477 gives for these convolutions.
    assert narrow("base").min_samples == 400


@torch.no_grad()
def test_silence_is_finite(narrow):
    for shape in ALL:
        assert torch.isfinite(narrow(shape)(torch.zeros(2, 8_000)).hidden_states[-1]).all()


def test_rates():
    for size, rate in {"base": 50.0, "large": 50.0, "small": 50.0, "fast": 25.0, "tiny": 25.0}.items():
        with torch.device("meta"):
            assert HubertEncoder(size_config(size)).frame_rate == rate


@pytest.mark.parametrize(("size", "millions"), [("base", 94), ("large", 315), ("xlarge", 962), ("tiny", 4)])
def test_sizes_as_published(size, millions):
    """Counts of the public checkpoints without heads: 94.4 M, 315.4 M, 962.5 M (transformers' `num_parameters`)."""
    with torch.device("meta"):
        encoder = HubertEncoder(size_config(size))
    assert sum(p.numel() for p in encoder.parameters()) // 10**6 == millions


@torch.no_grad()
def test_fbank_bands_follow_the_settings(narrow, speechlike):
    """A sound above `fbank_high_hz` leaves next to no trace."""
    time = torch.arange(9_600) / 16_000
    whistle = 0.1 * torch.sin(2 * torch.pi * 6000 * time) * torch.sin(2 * torch.pi * 5 * time)
    changes = []
    for high_hz in (4000.0, 8000.0):
        encoder = narrow("stack", fbank_high_hz=high_hz)
        changes.append((encoder(speechlike).features - encoder(speechlike + whistle).features).abs().mean().item())
    assert changes[0] < 0.1 * changes[1]


@torch.no_grad()
def test_stacked_features_are_normalised_and_in_order(narrow, speechlike):
    from speechssl.audio.fbank import log_mel_fbank

    features = narrow("stack")(speechlike).features
    mels = log_mel_fbank(speechlike, 80, 20.0, 8000.0)[:, : features.size(1) * 4].double().numpy()
    expected = (mels - mels.mean(1, keepdims=True)) / (mels.var(1, keepdims=True) + 1e-5) ** 0.5
    assert abs(features.numpy() - expected.reshape(features.shape)).max() < 1e-3


def test_gradient_factor_of_the_front_end(narrow, speechlike):
    gradients = {}
    for factor in (0.0, 0.1, 1.0):
        encoder = narrow("base", feature_grad_mult=factor)
        encoder(speechlike[:, :4_800]).hidden_states[-1].sin().sum().backward()
        gradients[factor] = encoder.state_dict(keep_vars=True)["feature_extractor.conv_layers.3.0.weight"].grad
    assert gradients[0.0] is None
    expected = 0.1 * gradients[1.0]
    torch.testing.assert_close(gradients[0.1], expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


def test_layerdrop_skips_and_leaves_zero_gradients(narrow, speechlike, monkeypatch):
    encoder = narrow("base", layerdrop=0.5, dropout=0.0, attention_dropout=0.0, input_dropout=0.0).train()
    draws = iter([0.9, 0.1, 0.9])
    monkeypatch.setattr(transformer.torch, "rand", lambda *_: torch.tensor(next(draws)))
    states = encoder(speechlike).hidden_states
    torch.testing.assert_close(states[2], states[1], rtol=0, atol=0)
    assert (states[3] - states[2]).abs().max() > 0.1
    states[-1].sin().sum().backward()
    for index, layer in enumerate(encoder.encoder.layers):
        gradients = [p.grad for p in layer.parameters()]
        assert all(g is not None for g in gradients)
        assert all((g.abs().max() == 0) == (index == 1) for g in gradients if g.numel() > 48)


@pytest.mark.parametrize("shape", ALL)
def test_bfloat16_stays_close(narrow, speechlike, shape):
    """Under autocast, in training, with padding: the hidden states follow those in float32."""
    encoder = narrow(shape, dropout=0.0, attention_dropout=0.0, input_dropout=0.0, layerdrop=0.0).train()
    lengths = torch.tensor([9_600, 7_000, 9_600])
    exact = encoder(speechlike, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        rough = encoder(speechlike, lengths)
    for a, b in zip(exact.hidden_states, rough.hidden_states, strict=True):
        assert torch.isfinite(b).all()
        assert (a - b).norm() / a.norm() < 0.03
    rough.hidden_states[-1].float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)


@pytest.mark.parametrize("padded", [False, True])
def test_short_attention_is_attention(padded):
    """The products for short sequences on a CPU against torch's own attention."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 4, 50, 16).bfloat16().requires_grad_() for _ in range(3))
    mask = (torch.arange(50) < torch.tensor([50, 30])[:, None])[:, None, None] if padded else None
    ours = transformer.attend(query, key, value, mask, 0.0)
    exact = torch.nn.functional.scaled_dot_product_attention(query.double(), key.double(), value.double(), mask)
    assert (ours - exact).abs().max() < 0.02


def test_wrong_mask_is_refused(narrow, speechlike):
    with pytest.raises(ValueError, match="mask"):
        narrow("base")(speechlike, mask=torch.zeros(3, 7, dtype=torch.bool))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"num_heads": 5}, "num_heads"),
        ({"conv_pos_groups": 7}, "conv_pos_groups"),
        ({"front_end": "mfcc"}, "front_end"),
        ({"conv_layers": [[512, 10]]}, "conv_layers"),
        ({"conv_layers": []}, "conv_layers"),
        ({"dropout": 1.5}, "dropout"),
        ({"front_end": "fbank", "fbank_high_hz": 9000.0}, "fbank_high_hz"),
        ({"front_end": "fbank", "fbank_subsampling": "conv", "fbank_stack": 3}, "fbank_stack"),
        ({"front_end": "fbank", "fbank_num_mels": 128, "fbank_high_hz": 4000.0}, "4 of fbank_num_mels=128 bands"),
    ],
)
def test_contradictions_are_named(changes, name):
    with pytest.raises(UserError, match=name):
        HubertConfig(**changes)


def test_unknown_size_offers_the_nearest():
    with pytest.raises(UserError, match="did you mean 'base'"):
        size_config("bse")


def test_the_files_of_the_sizes_say_the_same() -> None:
    files = (Path(__file__).parents[2] / "configs/model").glob("*.yaml")
    found = {file.stem: yaml.safe_load(file.read_text()) for file in files}
    sizes = {name: HubertConfig(**values) for name, values in found.items() if "backbone" not in values}
    assert sizes == {name: size_config(name) for name in SIZES}
