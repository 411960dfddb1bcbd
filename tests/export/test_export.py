from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
import soundfile
import torch

from speechssl.errors import UserError
from speechssl.export import check, run, s3prl
from speechssl.export.run import ExportSettings, export_inputs, export_outputs, run_export
from speechssl.models.clip_config import ClipConfig
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import size_config
from speechssl.models.load import load_encoder
from speechssl.models.save import save_encoder

NARROW = {
    "conv_layers": [[24, 10, 5], *([24, 3, 2] for _ in range(4)), *([24, 2, 2] for _ in range(2))],
    "num_layers": 2,
    "dim": 32,
    "ffn_dim": 64,
    "num_heads": 4,
    "conv_pos": 16,
    "conv_pos_groups": 2,
    "final_dim": 16,
}
HEADS = {"final_proj.weight": torch.randn(16, 32), "final_proj.bias": torch.randn(16)}


@pytest.fixture
def run_folder(tmp_path):
    """Save a narrow encoder of a size as a finished run; return its folder."""

    def save(size: str, **changes):
        torch.manual_seed(3)
        encoder = HubertEncoder(size_config(size, **{**NARROW, **changes})).eval()
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        save_encoder(tmp_path / "run" / "encoder", encoder, HEADS, {"k": [10]})
        return tmp_path / "run"

    return save


@pytest.fixture
def recording(tmp_path):
    """A stereo file at 8 kHz, which the check must read as the encoder does."""
    noise = np.random.default_rng(0).normal(0, 0.1, (12_345, 2))
    path = tmp_path / "a.wav"
    soundfile.write(path, np.clip(noise * np.sin(np.arange(12_345) / 500)[:, None] ** 2, -1, 1), 8000)
    return path


@pytest.mark.parametrize("size", ["base", "large"])
def test_all_targets_agree_with_our_encoder(run_folder, recording, tmp_path, size, caplog):
    """s3prl's `hubert_local` and transformers' `HubertModel` load the export and give our hidden states."""
    caplog.set_level("INFO")
    folder = run_folder(size)
    run_export(ExportSettings(encoder=str(folder), out=str(tmp_path / "out"), audio=str(recording)))
    reports = [line for line in caplog.messages if "largest difference" in line]
    assert len(reports) == 3
    assert all(float(line.rsplit(" ", 1)[1]) < 1e-4 for line in reports)
    checkpoint = torch.load(tmp_path / "out/s3prl/model.pt", weights_only=True)
    assert set(checkpoint) == {"task_cfg", "model_cfg", "model_weight", "dictionaries_symbols"}
    assert type(checkpoint["model_cfg"]) is dict and checkpoint["model_cfg"]["label_rate"] == 50
    assert torch.equal(checkpoint["model_weight"]["final_proj.weight"], HEADS["final_proj.weight"])
    preprocessor = json.loads((tmp_path / "out/huggingface/preprocessor_config.json").read_text())
    assert preprocessor["do_normalize"] is (size == "large")
    # And back: what was exported loads as the same encoder.
    encoder = load_encoder(folder)
    for exported in ("s3prl/model.pt", "huggingface"):
        again = load_encoder(tmp_path / "out" / exported)
        # Hugging Face has no place for the width of the heads.
        assert dataclasses.replace(again.config, final_dim=16) == encoder.config
        for name, tensor in encoder.state_dict().items():
            assert torch.equal(again.state_dict()[name], tensor)


def test_convolutions_as_wide_as_the_hidden_states(run_folder, tmp_path):
    """fairseq leaves the projection out there, transformers does not."""
    layers = [[32, kernel, stride] for _, kernel, stride in NARROW["conv_layers"]]
    folder = run_folder("base", conv_layers=layers)
    run_export(ExportSettings(encoder=str(folder), out=str(tmp_path / "out")))
    assert load_encoder(tmp_path / "out/huggingface").post_extract_proj is None


def test_without_heads_and_with_several_label_sets(run_folder, tmp_path):
    encoder = load_encoder(run_folder("base"))
    for heads in (None, {"final_proj.weight": torch.ones(32, 32), "final_proj.bias": torch.ones(32)}):
        s3prl.write(encoder, heads, tmp_path)
        weights = torch.load(tmp_path / "model.pt", weights_only=True)["model_weight"]
        assert weights["final_proj.weight"].shape == (16, 32)
        assert weights["final_proj.bias"].sum() == (16 if heads else 0)


@pytest.mark.parametrize("target", ["s3prl", "huggingface"])
def test_a_wrong_export_is_found_and_removed(run_folder, tmp_path, monkeypatch, target):
    real = run.TARGETS[target]

    def write_wrongly(encoder, heads, folder):
        with torch.no_grad():
            encoder.encoder.layers[1].fc2.bias[0] += 0.001
        real.write(encoder, heads, folder)
        with torch.no_grad():
            encoder.encoder.layers[1].fc2.bias[0] -= 0.001

    monkeypatch.setitem(run.TARGETS, target, dataclasses.replace(real, write=write_wrongly))
    with pytest.raises(UserError, match="other hidden states"):
        run_export(ExportSettings(encoder=str(run_folder("base")), out=str(tmp_path / "out"), target=target))
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_encoders_of_clips_have_our_own_form_only(tmp_path):
    out = tmp_path / "out"
    save_encoder(tmp_path / "run/encoder", ClipEncoder(ClipConfig(audio_ntt_dim=8)).eval())
    no_form = f"clip encoders have no s3prl or Hugging Face form: use {tmp_path}/run with speechssl.load_encoder"
    for target in ("s3prl", "huggingface"):
        with pytest.raises(UserError, match=no_form):
            run_export(ExportSettings(encoder=str(tmp_path / "run"), out=str(out), target=target))
    assert not out.exists()
    run_export(ExportSettings(encoder=str(tmp_path / "run"), out=str(out)))
    results = json.loads((out / "check.json").read_text())
    assert results["speechssl"]["largest_difference"] == 0.0
    assert all(results[name]["left_out"].startswith(no_form) for name in ("s3prl", "huggingface"))
    exported, own = (load_encoder(folder).state_dict() for folder in (out / "speechssl", tmp_path / "run"))
    assert all(torch.equal(weight, exported[name]) for name, weight in own.items())


@pytest.mark.parametrize("changes", [{"size": "tiny"}, {"size": "base", "cls_frame": True}])
def test_what_others_cannot_hold_is_left_out_and_said(run_folder, tmp_path, changes):
    folder, out = run_folder(**changes), tmp_path / "out"
    run_export(ExportSettings(encoder=str(folder), out=str(out)))
    results = json.loads((out / "check.json").read_text())
    assert results["speechssl"]["largest_difference"] == 0.0
    assert all("use speechssl.load_encoder" in results[name]["left_out"] for name in ("s3prl", "huggingface"))
    assert not (out / "s3prl").exists() and not (out / "huggingface").exists()
    assert load_encoder(out / "speechssl").config == load_encoder(folder).config
    with pytest.raises(UserError, match="s3prl cannot hold this encoder"):
        run_export(ExportSettings(encoder=str(folder), out=str(tmp_path / "other"), target="s3prl"))
    assert not (tmp_path / "other").exists()


def test_nothing_of_another_encoder_is_left(run_folder, tmp_path):
    out = tmp_path / "out"
    first = run_folder("base").rename(tmp_path / "first")
    second = run_folder("tiny")
    for target in ("huggingface", "s3prl"):
        run_export(ExportSettings(encoder=str(first), out=str(out), target=target))
    assert set(json.loads((out / "check.json").read_text())) == {"s3prl", "huggingface"}
    run_export(ExportSettings(encoder=str(second), out=str(out)))
    assert not [path for name in ("s3prl", "huggingface") for path in (out / name).rglob("*") if path.is_file()]
    run_export(ExportSettings(encoder=str(first), out=str(out), target="s3prl"))
    notes = json.loads((out / "check.json").read_text())
    assert notes["s3prl"]["weights"] != notes["speechssl"]["weights"]


@pytest.mark.parametrize("size", ["base", "tiny"])
def test_a_file_that_no_export_made_stays(run_folder, tmp_path, size):
    other = tmp_path / "models/huggingface/config.json"
    other.parent.mkdir(parents=True)
    other.write_text("{}")
    settings = ExportSettings(encoder=str(run_folder(size)), out=str(tmp_path / "models"))
    if size == "tiny":  # transformers cannot hold it
        run_export(settings)
    else:
        with pytest.raises(UserError, match=r"huggingface/config\.json is not of an export, as"):
            run_export(settings)
        assert [path for path in (tmp_path / "models").rglob("*") if path.is_file()] == [other]
    assert other.read_text() == "{}"


@pytest.mark.parametrize("target", ["speechssl", "s3prl", "huggingface"])
def test_an_export_that_is_cut_short_does_not_look_checked(run_folder, tmp_path, monkeypatch, target):
    out = tmp_path / "out"
    folder = run_folder("base")
    run_export(ExportSettings(encoder=str(folder), out=str(out)))
    real, seen = run.TARGETS[target], []

    def write_half(encoder, heads, folder):
        seen.append((json.loads((out / "check.json").read_text())[target], list((out / target).iterdir())))
        real.files(folder)[0].write_text("half")
        raise OSError("no room")

    monkeypatch.setitem(run.TARGETS, target, dataclasses.replace(real, write=write_half))
    with pytest.raises(OSError, match="no room"):
        run_export(ExportSettings(encoder=str(folder), out=str(out), target=target))
    [(note, files)] = seen
    assert note["unfinished"] and not files
    assert target not in json.loads((out / "check.json").read_text()) and not list((out / target).iterdir())


def test_a_killed_export_is_made_again(run_folder, tmp_path):
    settings = ExportSettings(encoder=str(run_folder("base")), out=str(tmp_path / "out"), target="s3prl")
    (tmp_path / "out/s3prl").mkdir(parents=True)
    (tmp_path / "out/s3prl/model.pt").write_text("half")
    (tmp_path / "out/check.json").write_text('{"s3prl": {"unfinished": true}}')
    run_export(settings)
    assert load_encoder(tmp_path / "out/s3prl/model.pt").config == load_encoder(settings.encoder).config


def test_a_library_that_is_not_installed_is_left_out_and_tried_again(run_folder, tmp_path, monkeypatch):
    folder, out = run_folder("base"), tmp_path / "out"
    settings = ExportSettings(encoder=str(folder), out=str(out))
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
            patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, "transformers", None)
        with pytest.raises(UserError, match=r"'transformers' is not installed.*pip install -e '\.\[export\]'"):
            run_export(dataclasses.replace(settings, target="huggingface"))
        assert not out.exists()
        run_export(settings)
    notes = json.loads((out / "check.json").read_text())
    assert "largest_difference" in notes["s3prl"] and "is not installed" in notes["huggingface"]["left_out"]
    assert not (out / "huggingface").exists()
    # What is missing there makes the command run again.
    assert out / "huggingface/model.safetensors" in export_outputs(settings)


def test_strides_that_s3prl_does_not_know(run_folder, tmp_path):
    folder = run_folder("base", conv_layers=[[24, 10, 5], *([24, 3, 2] for _ in range(4)), [24, 2, 2]])
    with pytest.raises(UserError, match=r"takes 320 samples .* this one has 160: .* the upstream speechssl"):
        run_export(ExportSettings(encoder=str(folder), out=str(tmp_path / "out"), target="s3prl"))
    run_export(ExportSettings(encoder=str(folder), out=str(tmp_path / "out"), target="huggingface"))


@torch.no_grad()
@pytest.mark.parametrize("size", ["base", "large"])
def test_transformers_is_told_what_is_padding(run_folder, tmp_path, size):
    """With layer norm in the front end each recording of a padded batch is as alone."""
    from transformers import AutoFeatureExtractor, HubertModel

    out = tmp_path / "out"
    run_export(ExportSettings(encoder=str(run_folder(size)), out=str(out), target="huggingface"))
    extractor = AutoFeatureExtractor.from_pretrained(out / "huggingface")
    model = HubertModel.from_pretrained(out / "huggingface")
    recordings = [0.1 * np.random.default_rng(0).normal(size=length).astype("float32") for length in (16_000, 9_500)]
    inputs = extractor(recordings, sampling_rate=16_000, padding=True, return_tensors="pt")
    assert inputs["attention_mask"].sum(dim=1).tolist() == [16_000, 9_500]
    if size == "large":
        together = model(**inputs).last_hidden_state[1]
        alone = model(extractor(recordings[1], sampling_rate=16_000, return_tensors="pt").input_values)
        expected = alone.last_hidden_state[0]
        torch.testing.assert_close(together[: len(expected)], expected, rtol=0, atol=1e-4)


def test_the_encoder_itself_is_never_written_over(run_folder, tmp_path):
    run_export(ExportSettings(encoder=str(run_folder("base")), out=str(tmp_path), target="speechssl"))
    before = {path.name: path.read_bytes() for path in (tmp_path / "speechssl").iterdir()}
    with pytest.raises(UserError, match="holds the encoder itself"):
        run_export(ExportSettings(encoder=str(tmp_path / "speechssl"), out=str(tmp_path)))
    assert {path.name: path.read_bytes() for path in (tmp_path / "speechssl").iterdir()} == before
    run_export(ExportSettings(encoder=str(tmp_path / "speechssl"), out=str(tmp_path), target="s3prl"))
    checkpoint = tmp_path / "s3prl/model.pt"
    before = checkpoint.read_bytes()
    (tmp_path / "link.pt").symlink_to(checkpoint)
    for source in (checkpoint, tmp_path / "link.pt"):
        with pytest.raises(UserError, match="its s3prl/ holds the encoder itself"):
            run_export(ExportSettings(encoder=str(source), out=str(tmp_path)))
    assert checkpoint.read_bytes() == before


def test_audio_of_the_check(recording, tmp_path):
    assert [len(w) for w in check.check_audio(str(recording), 400)] == [24_690]
    manifest = tmp_path / "valid.tsv"
    lines = [str(tmp_path), "missing.wav\t100", *["a.wav\t24690"] * 5]
    manifest.write_text("\n".join(lines) + "\n")
    assert [len(w) for w in check.check_audio(str(manifest), 400)] == [24_690] * 3
    with pytest.raises(UserError, match="no audio of at least 99999 samples"):
        check.check_audio(str(recording), 99_999)
    with pytest.raises(UserError, match="cannot be read"):
        check.check_audio(str(tmp_path / "none.wav"), 400)


def test_comparison_by_hand():
    zero, one = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    assert check.compare([zero], [zero + 5e-5])[1]
    assert check.compare([zero, one], [zero, one + 2e-4]) == (pytest.approx(2e-4, rel=1e-2), False)
    assert check.compare([100 * one], [100 * one + 2e-3])[1]
    assert not check.compare([zero], [zero, zero])[1]
    assert not check.compare([zero], [torch.zeros(1, 3, 2)])[1]


def test_settings_and_files(run_folder, tmp_path):
    with pytest.raises(UserError, match="did you mean 's3prl'"):
        ExportSettings(encoder="x", out="y", target="s3prll")
    folder = run_folder("base")
    settings = ExportSettings(encoder=str(folder), out="out", target="s3prl")
    names = ["encoder.json", "encoder.safetensors", "heads.json", "heads.safetensors"]
    assert [path.name for path in export_inputs(settings)] == names
    heard = ExportSettings(encoder=str(folder), out="out", target="s3prl", audio="a.wav")
    assert [path.name for path in export_inputs(heard)] == [*names, "a.wav"]
    settings = ExportSettings(encoder=str(folder), out=str(tmp_path / "out"), target="s3prl")
    assert [path.name for path in export_outputs(settings)] == ["check.json"]
    run_export(settings)
    assert [path.name for path in export_outputs(settings)] == ["check.json", "model.pt"]
