"""Encoders of other libraries: folders of Hugging Face, checkpoints of fairseq and s3prl."""

from __future__ import annotations

import json
import sys
import types

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechssl.errors import UserError
from speechssl.models.fairseq import config_to_fairseq, parse_conv_layers
from speechssl.models.hubert_config import HubertConfig
from speechssl.models.load import load_encoder
from tests.models.test_load import edit, same


@pytest.mark.parametrize("shape", ["base", "large"])
def test_huggingface_folder(narrow, speechlike, tmp_path, shape):
    """A folder that transformers itself wrote."""
    from transformers import HubertConfig as TheirConfig
    from transformers import HubertModel, Wav2Vec2FeatureExtractor

    own = narrow(shape).config
    theirs = HubertModel(
        TheirConfig(
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=96,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
            conv_dim=[24] * 7,
            feat_extract_norm=own.conv_norm,
            do_stable_layer_norm=own.layer_norm_first,
        )
    ).eval()
    theirs.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"preprocessor_config\.json does not exist"):
        load_encoder(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    encoder = load_encoder(tmp_path)
    assert encoder.num_layers == 2 and not encoder.config.normalize
    with torch.no_grad():
        expected = theirs(speechlike, output_hidden_states=True).hidden_states
        for a, b in zip(encoder(speechlike).hidden_states, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4)
    # The names of a checkpoint from before torch 2, with a task head.
    state = load_file(tmp_path / "model.safetensors")
    prefix = "encoder.pos_conv_embed.conv."
    state[f"{prefix}weight_g"] = state.pop(f"{prefix}parametrizations.weight.original0")
    state[f"{prefix}weight_v"] = state.pop(f"{prefix}parametrizations.weight.original1")
    state = {f"hubert.{name}": tensor for name, tensor in state.items()} | {"lm_head.bias": torch.zeros(5)}
    save_file(state, tmp_path / "model.safetensors")
    assert same(load_encoder(tmp_path), encoder, speechlike)
    edit(tmp_path / "config.json", lambda d: d.update(hidden_act="relu"))
    with pytest.raises(UserError, match="hidden_act"):
        load_encoder(tmp_path)
    edit(tmp_path / "config.json", lambda d: d.update(hidden_act="gelu", layer_norm_eps=1e-2))
    with pytest.raises(UserError, match=r"layer_norm_eps is 0\.01"):
        load_encoder(tmp_path)
    edit(tmp_path / "config.json", lambda d: d.update(layer_norm_eps=1e-5))
    edit(tmp_path / "preprocessor_config.json", lambda d: d.update(sampling_rate=8000))
    with pytest.raises(UserError, match="hears 8000 Hz"):
        load_encoder(tmp_path)


def test_huggingface_folder_that_never_masks(tmp_path, caplog):
    """Transformers leaves the mask's embedding out then."""
    from transformers import HubertConfig as TheirConfig
    from transformers import HubertModel, Wav2Vec2FeatureExtractor

    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96}
    HubertModel(TheirConfig(**sizes, conv_dim=[24] * 7, mask_time_prob=0.0)).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    assert not load_encoder(tmp_path).mask_emb.any()
    edit(tmp_path / "config.json", lambda d: d.update(mask_time_prob=0.05))
    # As a published one that had none in the first place.
    with caplog.at_level("INFO"):
        assert not load_encoder(tmp_path).mask_emb.any()
    assert f"{tmp_path} has no embedding of masked frames: zeros take its place" in caplog.messages


@pytest.fixture
def fairseq_dictionary(monkeypatch):
    """A stand-in for the class that fairseq's checkpoints hold."""
    module = types.ModuleType("fairseq.data.dictionary")
    module.Dictionary = type("Dictionary", (), {"__module__": module.__name__})
    for name in ("fairseq", "fairseq.data"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.Dictionary


@pytest.mark.parametrize("shape", ["base", "large"])
def test_fairseq_and_s3prl_checkpoints(narrow, speechlike, tmp_path, shape, fairseq_dictionary):
    encoder = narrow(shape)
    model, task = config_to_fairseq(encoder.config)
    # fairseq's heads have k + 4 rows.
    heads = {"final_proj.weight": torch.zeros(256, 48), "label_embs_concat": torch.zeros(104, 256)}
    weights = encoder.state_dict() | heads
    dictionary = fairseq_dictionary()
    dictionary.symbols = ["<s>", "0"]
    own = {"cfg": {"model": model, "task": task}, "model": weights, "task_state": {"dictionaries": [dictionary]}}
    torch.save(own, tmp_path / "fairseq.pt")
    converted = {"task_cfg": task, "model_cfg": model, "model_weight": weights, "dictionaries_symbols": [None]}
    torch.save(converted, tmp_path / "s3prl.pt")
    for name in ("fairseq.pt", "s3prl.pt"):
        loaded = load_encoder(tmp_path / name)
        assert loaded.config == encoder.config
        assert same(encoder, loaded, speechlike)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"task_cfg": c["task_cfg"] | {"sample_rate": 8000}}, "hears 8000 Hz; only encoders of 16000 Hz"),
        (lambda c: c | {"model_weight": torch.zeros(2)}, "weights are not tensors by name"),
        (lambda c: c | {"model_weight": {"mask_emb": 1}}, "weights are not tensors by name"),
        (lambda c: c | {"model_weight": {"quantizer.vars": torch.zeros(2)}}, "not a pretrained HuBERT.*s3prl:NAME"),
        (
            lambda c: c | {"model_weight": {"w2v_encoder.w2v_model.mask_emb": torch.zeros(2)}},
            "not a pretrained HuBERT.*s3prl:NAME",
        ),
        (lambda c: {"cfg": c["model_cfg"], "model": c["model_weight"]}, "not a pretrained HuBERT.*s3prl:NAME"),
        (
            lambda c: c | {"model_cfg": c["model_cfg"] | {"encoder_layers": "12"}},
            "is not the description of an encoder",
        ),
        (lambda c: c | {"model_cfg": c["model_cfg"] | {"conv_feature_layers": [5]}}, "is not the description"),
    ],
)
def test_checkpoints_that_cannot_be_ours_are_told_apart(narrow, tmp_path, change, message):
    encoder = narrow("base")
    model, task = config_to_fairseq(encoder.config)
    whole = {"task_cfg": task, "model_cfg": model, "model_weight": encoder.state_dict()}
    torch.save(change(whole), tmp_path / "other.pt")
    with pytest.raises(UserError, match=message) as caught:
        load_encoder(tmp_path / "other.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {"model_type": "wav2vec2"}, "of the type 'wav2vec2', not a HuBERT.*as hf:FOLDER"),
        ("config.json", [1], r"config\.json is not the description of an encoder"),
        ("preprocessor_config.json", [1], r"preprocessor_config\.json is not the description of an encoder"),
        ("config.json", {"conv_dim": [24]}, r"config\.json is not the description of an encoder \(zip"),
        ("config.json", {"conv_dim": 24}, r"config\.json is not the description of an encoder"),
        ("config.json", {"hidden_size": None}, r"config\.json is not the description of an encoder"),
    ],
)
def test_wrong_descriptions_of_hugging_face_are_one_line(tmp_path, file, content, message):
    save_file({"mask_emb": torch.zeros(2)}, tmp_path / "model.safetensors")
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        load_encoder(tmp_path)
    assert "\n" not in str(caught.value)


def test_checkpoints_run_nothing(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"cfg": {}, "model": Payload()}, tmp_path / "bad.pt")
    with pytest.raises(UserError, match="without running code"):
        load_encoder(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "cut.pt").write_bytes((tmp_path / "bad.pt").read_bytes()[:100])
    with pytest.raises(UserError, match="not a torch checkpoint"):
        load_encoder(tmp_path / "cut.pt")
    for name, data in (("text.pt", b"not a checkpoint\n"), ("page.pt", b"<!DOCTYPE html>"), ("empty.pt", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match="not a torch checkpoint"):
            load_encoder(tmp_path / name)
    save_file({"a": torch.zeros(2)}, tmp_path / "encoder.safetensors")
    with pytest.raises(UserError, match="give the folder that it is in"):
        load_encoder(tmp_path / "encoder.safetensors")
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="neither s3prl's keys"):
        load_encoder(tmp_path / "other.pt")


def test_conv_layers_of_fairseq():
    published = "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2"
    assert parse_conv_layers(published, "x") == HubertConfig().conv_layers
    # What fairseq itself does with the string.
    for text in (published, "[(1, 2, 3), (4, 5, 6)] * 2 + [(7,8,9)]"):
        assert parse_conv_layers(text, "x") == [list(layer) for layer in eval(text)]
    with pytest.raises(UserError, match="conv_feature_layers"):
        parse_conv_layers("[(512,10,5)] + print()", "x")
