"""The head that a run takes over from an earlier one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from speechssl.data.masking import MaskSettings
from speechssl.models.hubert_config import HubertConfig
from speechssl.models.save import save_encoder
from speechssl.training.model import build_model, copy_heads, heads_state
from speechssl.training.settings import DataSettings, PretrainSettings, ScheduleSettings

TINY = HubertConfig(front_end="fbank", num_layers=1, dim=16, ffn_dim=16, num_heads=2, conv_pos_groups=2, final_dim=8)
SETTINGS = PretrainSettings(
    data=DataSettings(labels=["units"]), model=TINY, mask=MaskSettings(), schedule=ScheduleSettings(steps=1)
)


@pytest.mark.parametrize(
    ("theirs", "ours", "units", "told"),
    [
        ("one", "one", 5, "the head that predicts units is copied"),
        ("", "one", 5, "the head that predicts units is copied"),
        ("one", "", 5, "the head that predicts units is copied"),
        ("one", "two", 5, "starts fresh: its units are of another k-means"),
        ("one", "one", 6, "starts fresh: its shape there is (6, 8), not (5, 8)"),
    ],
)
def test_a_head_is_copied_if_it_predicts_the_same_units(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, theirs: str, ours: str, units: int, told: str
) -> None:
    before = build_model(SETTINGS, [units], None)
    save_encoder(tmp_path, before.encoder, heads_state(before), {"kmeans_sha256": [theirs]})
    model = build_model(SETTINGS, [5], None)
    own = {name: weight.clone() for name, weight in heads_state(model).items()}
    with caplog.at_level("INFO"):
        copy_heads(model, tmp_path, ours)
    assert told in caplog.text
    expected = heads_state(before) if "copied" in told else own
    assert all(torch.equal(weight, expected[name]) for name, weight in heads_state(model).items())


def test_an_encoder_without_heads_leaves_the_head_fresh(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = build_model(SETTINGS, [5], None)
    save_encoder(tmp_path, model.encoder)
    own = {name: weight.clone() for name, weight in heads_state(model).items()}
    with caplog.at_level("INFO"):
        copy_heads(model, tmp_path, "one")
    assert "starts fresh: there is none" in caplog.text
    assert all(torch.equal(weight, own[name]) for name, weight in heads_state(model).items())
