"""Masked accuracy against fairseq's way of computing logits, written out."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from speechssl.audio import read_audio
from speechssl.cli.app import main
from speechssl.data.labels import LabelInfo, read_labels, write_labels
from speechssl.data.manifest import read_manifest
from speechssl.data.masking import MaskSettings, span_mask
from speechssl.errors import UserError
from speechssl.evaluation.extract import WaveformCache
from speechssl.evaluation.probes.masked import MaskedAccuracy
from speechssl.evaluation.probes.settings import EvaluateSettings
from speechssl.evaluation.recordings import read_recordings
from speechssl.evaluation.sampling import generator_for
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import HubertConfig
from speechssl.models.save import save_encoder

UNITS = 7


@pytest.fixture
def units(corpus: Path, tmp_path: Path) -> Path:
    manifest = read_manifest(corpus / "valid.tsv")
    random = np.random.default_rng(0)
    rows = [random.integers(UNITS, size=int(samples) // 160 - 2) for samples in manifest.samples]
    write_labels(tmp_path / "valid.km", rows, LabelInfo(100.0, UNITS, "mfcc", "", ""))
    return tmp_path


@pytest.fixture
def encoder(tmp_path: Path) -> HubertEncoder:
    torch.manual_seed(0)
    config = HubertConfig(front_end="fbank", num_layers=1, dim=16, ffn_dim=32, num_heads=2, conv_pos=8)
    encoder = HubertEncoder(config).eval()
    heads = {
        "final_proj.weight": torch.randn(8, 16),
        "final_proj.bias": torch.randn(8),
        "label_embs_concat": torch.randn(UNITS, 8),
    }
    save_encoder(tmp_path / "encoder", encoder, heads, {"logit_temperature": 0.1})
    save_encoder(tmp_path / "bare", encoder)
    return encoder


def settings(corpus: Path, units: Path, **changes: object) -> EvaluateSettings:
    mask = MaskSettings(length=5)
    return EvaluateSettings(data_dir=str(corpus), out_dir="o", labels_dir=str(units), mask=mask, **changes)


@pytest.mark.parametrize("layer", [0, 1])
def test_equals_the_formula(corpus: Path, units: Path, encoder: HubertEncoder, layer: int) -> None:
    chosen = settings(corpus, units, seed=3)
    # A fresh layer changes next to nothing: make the two hidden states differ.
    for weight in encoder.encoder.layers.parameters():
        weight.data.mul_(30 if weight.dim() > 1 else 1)
    heads = load_file(units / "encoder" / "heads.safetensors")
    heads["final_proj.bias"].zero_()
    save_encoder(units / "encoder", encoder, heads, {"logit_temperature": 0.1, "layer": layer})
    task = MaskedAccuracy(read_recordings(corpus), chosen)
    score = task.score(str(units / "encoder"), encoder, WaveformCache(20))

    state = load_file(units / "encoder" / "heads.safetensors")
    manifest = read_manifest(corpus / "valid.tsv")
    rows = (units / "valid.km").read_text().splitlines()
    right = total = 0
    for index, name in enumerate(manifest.paths):
        waveform = read_audio(manifest.audio_path(index))[None]
        frames = int(encoder.frame_lengths(torch.tensor([waveform.shape[1]])))
        mask = span_mask(frames, 0.8, 5, 2, generator_for(3, name, "mask"))
        with torch.no_grad():
            states = encoder(waveform, mask=torch.from_numpy(mask)[None]).hidden_states[layer][0]
        projected = states @ state["final_proj.weight"].T + state["final_proj.bias"]
        logits = torch.cosine_similarity(projected[:, None], state["label_embs_concat"][None], dim=-1) / 0.1
        labels = [int(unit) for unit in rows[index].split()]
        for frame in np.flatnonzero(mask):
            # 25 frames a second, labels at 100: the second of four.
            if 4 * frame + 1 < len(labels):
                right += int(logits[frame].argmax()) == labels[4 * frame + 1]
                total += 1
    assert score is not None and total > 30
    assert score.value == pytest.approx(right / total) and score.details["masked_frames"] == total


def test_labels_of_fairseq_score_as_ours(corpus: Path, units: Path, encoder: HubertEncoder) -> None:
    """They have no sidecar, and the split need not have the largest unit."""
    lower = [" ".join(str(min(int(unit), UNITS - 2)) for unit in line.split()) for line in (units / "valid.km").open()]
    path = str(units / "encoder")
    rows = [np.array(line.split(), dtype=int) for line in lower]
    write_labels(units / "valid.km", rows, LabelInfo(100.0, UNITS, "mfcc", "", ""))
    ours = MaskedAccuracy(read_recordings(corpus), settings(corpus, units)).score(path, encoder, WaveformCache(20))
    (units / "valid.km.json").unlink()
    with pytest.raises(UserError, match="give its frame rate as label_rate"):
        MaskedAccuracy(read_recordings(corpus), settings(corpus, units))
    task = MaskedAccuracy(read_recordings(corpus), settings(corpus, units, label_rate=100.0))
    assert task.score(path, encoder, WaveformCache(20)) == ours


def test_batch_size_changes_nothing(corpus: Path, units: Path, encoder: HubertEncoder) -> None:
    scores = [
        MaskedAccuracy(read_recordings(corpus), settings(corpus, units, batch_seconds=seconds)).score(
            str(units / "encoder"), encoder, WaveformCache(20)
        )
        for seconds in (0.1, 60.0)
    ]
    assert scores[0] == scores[1]


def test_an_encoder_without_heads_has_no_score(corpus: Path, units: Path, encoder: HubertEncoder) -> None:
    task = MaskedAccuracy(read_recordings(corpus), settings(corpus, units))
    assert task.unfit(str(units / "bare")) == f"{units}/bare has no pretraining heads"
    assert task.unfit(str(units / "encoder")) == ""


def test_heads_of_other_units_have_no_score(corpus: Path, units: Path, encoder: HubertEncoder) -> None:
    heads = {"final_proj.weight": torch.randn(8, 16), "final_proj.bias": torch.randn(8)}
    heads["label_embs_concat"] = torch.randn(UNITS + 1, 8)
    save_encoder(units / "encoder", encoder, heads, {"logit_temperature": 0.1})
    task = MaskedAccuracy(read_recordings(corpus), settings(corpus, units))
    assert re.search(r"predicts 8 units and .*valid.km has 7", task.unfit(str(units / "encoder")))


def test_heads_of_another_kmeans_have_no_score(corpus: Path, units: Path, encoder: HubertEncoder) -> None:
    labels = read_labels(units / "valid.km", 100.0)
    info = dataclasses.replace(labels.info, kmeans_sha256="one")
    write_labels(units / "valid.km", [labels[row] for row in range(len(labels))], info)
    heads = load_file(units / "encoder" / "heads.safetensors")
    save_encoder(units / "encoder", encoder, heads, {"logit_temperature": 0.1, "kmeans_sha256": ["two"]})
    task = MaskedAccuracy(read_recordings(corpus), settings(corpus, units))
    assert "another k-means" in task.unfit(str(units / "encoder"))


def test_units_that_no_encoder_predicts_are_an_error_before_anything_is_encoded(
    corpus: Path,
    units: Path,
    encoder: HubertEncoder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("speechssl.evaluation.probes.run.extract", None)
    given = ["evaluate", f"data_dir={corpus}", f"out_dir={units}/out", f"labels_dir={units}", "baselines=[fbank]"]
    for encoders, reason in (
        (f"encoders={units}/bare", "bare has no pretraining heads"),
        ("encoders={}", "names none"),
    ):
        assert main([*given, encoders]) == 1
        error = capsys.readouterr().err
        assert "no encoder predicts the units of labels_dir: " in error and reason in error


def test_a_split_that_the_metadata_do_not_name_is_an_error(corpus: Path, units: Path) -> None:
    """As of a manifest that another command has left there."""
    left = [recording for recording in read_recordings(corpus) if recording.split != "valid"]
    with pytest.raises(UserError, match=r"valid\.tsv is of no split that .*metadata\.tsv names"):
        MaskedAccuracy(left, settings(corpus, units))
