"""Our encoder against transformers and torchaudio: same weights, same input, same hidden states."""

from __future__ import annotations

import pytest
import torch
import torchaudio
from torch import Tensor
from transformers import HubertConfig as TheirConfig
from transformers import HubertModel

from speechssl.models.hubert import HubertEncoder, hubert_base
from speechssl.models.huggingface import to_huggingface_config, to_huggingface_state

TOLERANCE = 1e-4


def transformers_model(encoder: HubertEncoder) -> HubertModel:
    # Without storage: their random weights would take most of the time.
    with torch.device("meta"):
        model = HubertModel(TheirConfig(**to_huggingface_config(encoder.config)))
    model.load_state_dict(to_huggingface_state(encoder.config, encoder.state_dict()), assign=True)
    return model.eval()


def torchaudio_model(encoder: HubertEncoder) -> torch.nn.Module:
    config = encoder.config
    model = torchaudio.models.wav2vec2_model(
        extractor_mode=f"{config.conv_norm}_norm",
        extractor_conv_layer_config=[tuple(layer) for layer in config.conv_layers],
        extractor_conv_bias=config.conv_bias,
        encoder_embed_dim=config.dim,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=config.conv_pos,
        encoder_pos_conv_groups=config.conv_pos_groups,
        encoder_num_layers=config.num_layers,
        encoder_num_heads=config.num_heads,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=config.ffn_dim,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=config.layer_norm_first,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )
    load_torchaudio(model, encoder)
    return model.eval()


def load_torchaudio(model: torch.nn.Module, encoder: HubertEncoder) -> None:
    """torchaudio has transformers' names, one level deeper."""
    state = to_huggingface_state(encoder.config, encoder.state_dict())
    del state["masked_spec_embed"]
    renamed = {}
    for name, tensor in state.items():
        if name.startswith("feature_projection."):
            name = f"encoder.{name}"
        elif name.startswith("encoder."):
            name = f"encoder.transformer.{name.removeprefix('encoder.')}"
        renamed[name] = tensor
    model.load_state_dict(renamed, assign=True)


def largest_difference(ours: list[Tensor], theirs: list[Tensor]) -> float:
    assert len(ours) == len(theirs)
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("shape", ["base", "large"])
@torch.no_grad()
def test_transformers(narrow, speechlike, shape):
    encoder = narrow(shape, normalize=False)
    theirs = transformers_model(encoder)(speechlike, output_hidden_states=True).hidden_states
    ours = encoder(speechlike).hidden_states
    assert len(ours) == encoder.num_layers + 1
    assert largest_difference(ours, list(theirs)) < TOLERANCE


@pytest.mark.parametrize("shape", ["base", "large"])
@torch.no_grad()
def test_torchaudio(narrow, speechlike, shape):
    encoder = narrow(shape, normalize=False)
    model = torchaudio_model(encoder)
    layers, _ = model.extract_features(speechlike)
    ours = encoder(speechlike).hidden_states
    if shape == "large":
        # torchaudio's list of layers has no final layer norm; its forward does.
        layers = [*layers[:-1], model(speechlike)[0]]
    assert largest_difference(ours[1:], layers) < TOLERANCE


@torch.no_grad()
def test_full_size_base(speechlike):
    speechlike = speechlike[:, :8_000]
    torch.manual_seed(0)
    encoder = hubert_base().eval()
    ours = encoder(speechlike[:1]).hidden_states
    theirs = transformers_model(encoder)(speechlike[:1], output_hidden_states=True).hidden_states
    assert largest_difference(ours, list(theirs)) < TOLERANCE
    pretrain = torchaudio.models.hubert_pretrain_base()
    load_torchaudio(pretrain.wav2vec2, encoder)
    layers, _ = pretrain.wav2vec2.eval().extract_features(speechlike[:1])
    assert largest_difference(ours[1:], layers) < TOLERANCE


@torch.no_grad()
def test_normalisation_as_transformers(narrow, speechlike):
    from transformers import Wav2Vec2FeatureExtractor

    encoder = narrow("large")
    # Loud audio: the two add a different small number to the variance (1e-5 ours and fairseq's, 1e-7 transformers').
    loud = 3 * speechlike
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    inputs = extractor(list(loud.numpy()), sampling_rate=16_000, return_tensors="pt").input_values
    theirs = transformers_model(encoder)(inputs, output_hidden_states=True).hidden_states
    assert largest_difference(encoder(loud).hidden_states, list(theirs)) < TOLERANCE


@torch.no_grad()
def test_masking_as_transformers(narrow, speechlike):
    encoder = narrow("base")
    model = transformers_model(encoder)
    frames = int(encoder.frame_lengths(torch.tensor([9_600]))[0])
    mask = torch.zeros(3, frames, dtype=torch.bool)
    mask[0, 5:15] = mask[2, 20:27] = True
    # transformers masks only where it thinks it trains; the modules in it stay in evaluation mode.
    model.training = True
    theirs = model(speechlike, mask_time_indices=mask, output_hidden_states=True).hidden_states
    assert largest_difference(encoder(speechlike, mask=mask).hidden_states, list(theirs)) < TOLERANCE


@pytest.mark.parametrize("samples", [400, 401, 719, 720, 16_000, 16_079, 16_080, 123_457])
def test_frame_lengths_as_transformers(narrow, samples):
    encoder = narrow("base")
    theirs = transformers_model(encoder)._get_feat_extract_output_lengths(samples)
    assert int(encoder.frame_lengths(torch.tensor([samples]))[0]) == int(theirs)


def test_initial_weights_as_published():
    """Standard deviations of fairseq's initialisation, on wide layers."""
    torch.manual_seed(0)
    encoder = hubert_base(num_layers=1)
    layer = encoder.encoder.layers[0]
    assert layer.self_attn.q_proj.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert layer.fc2.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert layer.fc1.bias.abs().max().item() == 0
    assert encoder.encoder.pos_conv[0].weight_v.std().item() == pytest.approx((4 / (128 * 768)) ** 0.5, rel=0.02)
    conv = encoder.state_dict()["feature_extractor.conv_layers.1.0.weight"]
    assert conv.std().item() == pytest.approx((2 / (512 * 3)) ** 0.5, rel=0.02)
    assert encoder.mask_emb.min() >= 0 and encoder.mask_emb.max() <= 1
