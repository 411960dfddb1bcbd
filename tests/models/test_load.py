from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

import speechssl
from speechssl.audio.log_mel import LogMelSettings
from speechssl.cli.configuration import config_dir
from speechssl.errors import UserError
from speechssl.models.clip_config import BackboneName, ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.fairseq import config_to_fairseq
from speechssl.models.hubert_config import SIZES, HubertConfig, size_config
from speechssl.models.load import encoder_files, load_encoder, load_heads
from speechssl.models.save import save_encoder


def same(a, b, waveforms) -> bool:
    with torch.no_grad():
        pairs = zip(a(waveforms).hidden_states, b(waveforms).hidden_states, strict=True)
        return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("shape", ["base", "large", "stack", "conv"])
def test_saved_and_loaded(narrow, speechlike, tmp_path, shape):
    encoder = narrow(shape)
    save_encoder(tmp_path / "run" / "encoder", encoder)
    for path in (tmp_path / "run" / "encoder", tmp_path / "run"):
        loaded = speechssl.load_encoder(path)
        assert not loaded.training and loaded.config == encoder.config
        assert same(encoder, loaded, speechlike)
    assert load_heads(tmp_path / "run") is None
    description = json.loads((tmp_path / "run/encoder/encoder.json").read_text())
    assert description["sample_rate"] == 16_000 and description["frame_rate"] == encoder.frame_rate
    loaded(speechlike).hidden_states[-1].sum().backward()
    assert loaded.mask_emb.requires_grad


@pytest.mark.parametrize("backbone", ["audio_ntt", "efficientnet_b0", "vit"])
def test_clip_encoders_saved_and_loaded(clip_encoder, speechlike, tmp_path, backbone):
    log_mel = LogMelSettings(low_hz=100.0, high_hz=7000.0)
    encoder = clip_encoder(backbone, log_mel=log_mel, norm_updates=7, vit_layers=2)
    save_encoder(tmp_path / "encoder", encoder, {"extra.prototypes": torch.ones(3, 48)}, {"objective": "decar"})
    before = torch.random.get_rng_state()
    loaded = speechssl.load_encoder(tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())
    assert isinstance(loaded, ClipEncoder) and not loaded.training and loaded.config == encoder.config
    # Weights are compared bit by bit below. Convolutions may round differently with the place of weights in memory.
    with torch.no_grad():
        torch.testing.assert_close(loaded(speechlike).hidden_states, encoder(speechlike).hidden_states)
    assert loaded.state_dict().keys() == encoder.state_dict().keys()
    for name, tensor in encoder.state_dict().items():
        assert loaded.state_dict()[name].dtype == tensor.dtype
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert load_heads(tmp_path)[1] == {"objective": "decar"}
    description = json.loads((tmp_path / "encoder/encoder.json").read_text())
    assert description["kind"] == "clip" and description["config"]["backbone"] == backbone
    assert description["frame_rate"] == encoder.frame_rate
    # Training goes on where it was.
    loaded.train()(speechlike)
    assert int(loaded.norm.count) == 3


def test_folders_without_a_kind_are_hubert(narrow, speechlike, tmp_path):
    """As the first version wrote them."""
    encoder = narrow("stack")
    save_encoder(tmp_path, encoder)
    assert json.loads((tmp_path / "encoder.json").read_text())["kind"] == "hubert"
    edit(tmp_path / "encoder.json", lambda d: d.pop("kind"))
    assert same(load_encoder(tmp_path), encoder, speechlike)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(kind="image"), r"kind 'image'.*known: hubert, clip"),
        (lambda d: d["config"].update(vit_layer=3), "'vit_layer'; did you mean 'vit_layers'"),
        (lambda d: d["config"]["log_mel"].update(hops=80), "'hops'; did you mean 'hop'"),
        (lambda d: d["config"].update(backbone="audio_nt"), "'audio_nt'; did you mean 'audio_ntt'"),
        (lambda d: d["config"].update(audio_ntt_dim=50), r"'backbone\.fc\.0\.weight' is \(48, 512\).*\(50, 512\)"),
        (lambda d: d["config"].update(backbone="vit"), "'backbone.* no place"),
    ],
)
def test_what_does_not_fit_a_clip_encoder_is_named(clip_encoder, tmp_path, change, message):
    save_encoder(tmp_path, clip_encoder("audio_ntt"))
    edit(tmp_path / "encoder.json", change)
    with pytest.raises(UserError, match=message) as caught:
        load_encoder(tmp_path)
    assert "\n" not in str(caught.value)


def test_heads_come_back(narrow, tmp_path):
    state = {"final_proj.weight": torch.randn(256, 48), "label_embs_concat": torch.randn(10, 256)}
    info = {"k": [10], "frame_rate": 50.0, "label_sets": ["mfcc"], "logit_temperature": 0.1}
    save_encoder(tmp_path, narrow("base"), state, info)
    loaded, description = load_heads(tmp_path)
    assert description == info
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    save_encoder(tmp_path, narrow("base"))
    assert load_heads(tmp_path) is None


def test_the_files_of_an_encoder_are_all_that_decide_what_it_is(narrow, tmp_path):
    run = tmp_path / "run"
    save_encoder(run / "encoder", narrow("base"), {"final_proj.weight": torch.randn(256, 48)}, {"k": [10]})
    (run / "run.json").write_text("{}")
    names = ["encoder.json", "encoder.safetensors", "heads.json", "heads.safetensors"]
    assert encoder_files(run) == encoder_files(run / "encoder") == [run / "encoder" / name for name in names]
    # An encoder of its own comes first, as in loading.
    save_encoder(run, narrow("base"))
    assert run / "encoder.safetensors" in encoder_files(run) and run / "encoder" / names[0] not in encoder_files(run)
    checkpoint = tmp_path / "hubert.pt"
    assert encoder_files(checkpoint) == [checkpoint], "also where it is missing"
    checkpoint.write_bytes(b"weights")
    assert encoder_files(str(checkpoint)) == [checkpoint]
    folder = tmp_path / "hf"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    names = sorted(file.name for file in folder.iterdir())
    (folder / ".model.x.safetensors").write_text("what a killed command had begun to write")
    assert [file.name for file in encoder_files(folder)] == names


def test_an_interrupted_save_leaves_the_encoder_before_or_none(narrow, clip_encoder, tmp_path, monkeypatch):
    heads = {"final_proj.weight": torch.zeros(256, 48)}
    save_encoder(tmp_path / "hubert", narrow("base"), heads, {"step": 1})
    save_encoder(tmp_path / "clip", clip_encoder("vit"), None, {"step": 1})

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("speechssl.models.save.save_file", killed)
    for name, encoder in (("hubert", narrow("base")), ("clip", clip_encoder("vit"))):
        with pytest.raises(KeyboardInterrupt):
            save_encoder(tmp_path / name, encoder, None, {"step": 2})
        assert load_encoder(tmp_path / name).config == encoder.config
    assert load_heads(tmp_path / "hubert")[1] == {"step": 1}
    # Its weights are not those of another configuration.
    with pytest.raises(KeyboardInterrupt):
        save_encoder(tmp_path / "hubert", narrow("large"))
    with pytest.raises(UserError, match="holds no encoder"):
        load_encoder(tmp_path / "hubert")
    assert not list(tmp_path.glob("*/.*"))


def test_the_update_of_an_encoder_is_told_when_all_of_it_is_there(narrow, tmp_path, monkeypatch):
    heads = {"final_proj.weight": torch.zeros(256, 48)}
    save_encoder(tmp_path, narrow("base"), heads, {"step": 1})
    real, seen = save_file, []

    def save(*given, **options):
        seen.append(load_heads(tmp_path)[1]["step"])
        real(*given, **options)

    monkeypatch.setattr("speechssl.models.save.save_file", save)
    save_encoder(tmp_path, narrow("base"), heads, {"step": 2})
    assert seen == [1, 1] and load_heads(tmp_path)[1]["step"] == 2


def test_a_broken_description_is_replaced(narrow, tmp_path):
    (tmp_path / "encoder.json").write_bytes(b"{\xff")
    save_encoder(tmp_path, narrow("base"))
    assert load_encoder(tmp_path).config == narrow("base").config


def edit(path, change):
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=99), "format version 99"),
        (lambda d: d.update(format="other"), "not an encoder of speechssl"),
        (lambda d: d.pop("config"), "not the description of an encoder"),
        (lambda d: d["config"].update(dim="48"), r"encoder\.json is not the description of an encoder"),
        (lambda d: d["config"].update(conv_layers=[5]), r"encoder\.json is not the description of an encoder"),
        (lambda d: d.update(sample_rate=8000), "of an encoder of 8000 Hz"),
        (lambda d: d["config"].update(num_layer=3), "'num_layer'; did you mean 'num_layers'"),
        (lambda d: d["config"].update(num_layers=4), r"lacks the parameter 'encoder\.layers\.3\."),
        (lambda d: d["config"].update(num_layers=2), r"a parameter 'encoder\.layers\.2\..* no place"),
        (lambda d: d["config"].update(ffn_dim=90), r"'encoder\.layers\.0\.fc1\.weight' is \(96, 48\).*\(90, 48\)"),
        (lambda d: d["config"].update(num_heads=5), "num_heads 5"),
    ],
)
def test_what_does_not_fit_is_named(narrow, tmp_path, change, message):
    save_encoder(tmp_path, narrow("base"))
    edit(tmp_path / "encoder.json", change)
    with pytest.raises(UserError, match=message) as caught:
        load_encoder(tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files(narrow, tmp_path):
    with pytest.raises(UserError, match="does not exist: give"):
        load_encoder(tmp_path / "nothing")
    with pytest.raises(UserError, match="holds no encoder: give"):
        load_encoder(tmp_path)
    save_encoder(tmp_path, narrow("base"))
    weights = (tmp_path / "encoder.safetensors").read_bytes()
    (tmp_path / "encoder.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.safetensors").unlink()
    with pytest.raises(UserError, match=r"encoder\.safetensors does not exist"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("shape", ["base", "large", "stack", "conv"])
def test_weights_of_half_precision_encode(narrow, speechlike, shape):
    encoder = narrow(shape).eval()
    whole = encoder(speechlike).hidden_states[-1]
    half = encoder.to(torch.bfloat16)(speechlike).hidden_states[-1]
    assert half.dtype == torch.bfloat16
    assert (half.float() - whole).norm() < 0.1 * whole.norm()


@pytest.mark.parametrize("size", list(SIZES))
def test_configuration_files_are_the_sizes(size):
    """`configs/model/*.yaml` and the factories say the same, and the settings are a hydra schema."""
    schema = OmegaConf.structured(HubertConfig)
    merged = OmegaConf.merge(schema, OmegaConf.load(config_dir() / "model" / f"{size}.yaml"))
    assert OmegaConf.to_object(merged) == size_config(size)


@pytest.mark.parametrize("backbone", list(BackboneName))
def test_configuration_files_are_the_backbones(backbone):
    schema = OmegaConf.structured(ClipConfig)
    merged = OmegaConf.merge(schema, OmegaConf.load(config_dir() / "model" / f"{backbone.value}.yaml"))
    assert OmegaConf.to_object(merged) == ClipConfig(backbone)


def test_every_size_and_backbone_has_a_file():
    known = {*SIZES, *(name.value for name in BackboneName)}
    assert {path.stem for path in (config_dir() / "model").glob("*.yaml")} == known


BLOCKED = "torchaudio torchvision hydra omegaconf fairseq2 gensim transformers tqdm librosa sklearn s3prl"
SCRIPT = f"""
import sys
for name in "{BLOCKED}".split():
    sys.modules[name] = None
import torch, speechssl
for path in sys.argv[1:]:
    print(speechssl.load_encoder(path)(torch.zeros(1, 4000)).hidden_states[-1].shape[2])
"""


def test_base_install_is_enough(narrow, clip_encoder, tmp_path):
    from speechssl.models.huggingface import to_huggingface_config, to_huggingface_state

    encoder = narrow("base")
    save_encoder(tmp_path / "own", narrow("stack"))
    save_encoder(tmp_path / "clip", clip_encoder("audio_ntt"))
    (tmp_path / "hf").mkdir()
    save_file(to_huggingface_state(encoder.config, encoder.state_dict()), tmp_path / "hf/model.safetensors")
    (tmp_path / "hf/config.json").write_text(json.dumps(to_huggingface_config(encoder.config)))
    (tmp_path / "hf/preprocessor_config.json").write_text('{"do_normalize": false}')
    model, task = config_to_fairseq(encoder.config)
    torch.save({"task_cfg": task, "model_cfg": model, "model_weight": encoder.state_dict()}, tmp_path / "s3prl.pt")
    paths = [str(tmp_path / name) for name in ("own", "clip", "hf", "s3prl.pt")]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["48"] * 4
