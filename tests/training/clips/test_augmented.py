"""Where training on clips draws its augmentation from, and that settings of it which nothing reads are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from speechssl.audio.augment import any_partner
from speechssl.cli.app import main
from speechssl.cli.configuration import config_dir
from speechssl.models.clip_config import ClipConfig
from speechssl.objectives.choose import ViewObjectiveName, ViewObjectiveSettings
from speechssl.objectives.k_mix import KMix
from speechssl.objectives.self_distillation import SelfDistillation, SelfDistillationSettings
from speechssl.objectives.slicer import SlicerSettings
from speechssl.training.clips.dataset import ClipDataset
from speechssl.training.clips.distill import DistillationModel
from speechssl.training.clips.pretrain import ViewModel, ViewPretraining
from speechssl.training.clips.reader import ClipBatch, ClipReader
from speechssl.training.clips.settings import ClipDataSettings, PretrainClipsSettings
from speechssl.training.dataset import AudioCache
from speechssl.training.settings import ScheduleSettings


def settings_of(sounds: Path, name: str = "barlow_twins", **objective: object) -> PretrainClipsSettings:
    settings = PretrainClipsSettings(
        data=ClipDataSettings(train=f"{sounds}/train.tsv", valid=f"{sounds}/valid.tsv"),
        model=ClipConfig(audio_ntt_dim=16),
        objective=ViewObjectiveSettings(ViewObjectiveName(name), **objective),
        schedule=ScheduleSettings(steps=4),
    )
    settings.augment.mixup_exp.memory = 8
    return settings


def batch_of(seed: int) -> ClipBatch:
    waveforms = 0.1 * torch.randn(4, 15_200, generator=torch.Generator().manual_seed(0))
    return ClipBatch([waveforms], torch.arange(4), torch.tensor([0, 1, 0, 1]), 0, seed, [""] * 4, 4)


def backbone_sees(model: ViewModel | DistillationModel, batch: ClipBatch) -> list[Tensor]:
    """Return what the backbone is given, of each call."""
    seen: list[Tensor] = []
    hook = model.encoder.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    model(batch)
    hook.remove()
    return seen


@pytest.fixture
def view_model(sounds: Path) -> ViewModel:
    """Without mixing: what comes out depends on the draws alone, not on what came before."""
    settings = settings_of(sounds)
    settings.augment.mixup_exp.enabled = False
    settings.model.norm_updates = 1
    model = ViewPretraining(settings).build_model()
    backbone_sees(model, batch_of(0))
    return model


def test_the_views_of_a_clip_have_draws_of_their_own(view_model):
    first, second = backbone_sees(view_model, batch_of(1))
    assert all(not torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_the_seed_of_a_batch_decides_its_views(view_model):
    first = torch.stack(backbone_sees(view_model, batch_of(1)))
    assert torch.equal(torch.stack(backbone_sees(view_model, batch_of(1))), first)
    assert not torch.equal(torch.stack(backbone_sees(view_model, batch_of(2))), first)


def test_every_process_update_and_epoch_has_a_seed_of_its_own(sounds):
    dataset = ClipDataset(f"{sounds}/train.tsv", ClipDataSettings(), 1, AudioCache(0.0))
    seeds = []
    for rank in range(2):
        reader = ClipReader(dataset, clips=12, crops=1, seed=1, rank=rank, processes=2, workers=1)
        for _ in range(2):
            seeds += [batch.seed for batches in reader for batch in batches]
            reader.reset()
        reader.close()
    assert len(set(seeds)) == len(seeds) == 12


def test_distillation_augments_in_training_only(sounds):
    settings = settings_of(sounds)
    views = ViewPretraining(settings).build_model()
    objective = SelfDistillation(views.encoder.backbone, 2, SelfDistillationSettings())
    model = DistillationModel(views.encoder, objective, views.augmentation)
    model(batch_of(0))
    model.eval()
    (plain,) = backbone_sees(model, batch_of(1))
    assert torch.equal(plain, views.encoder.log_mel(batch_of(1).waveforms[0]))
    model.encoder.norm.updates = 0
    (first,), (second,) = (backbone_sees(model.train(), batch_of(seed)) for seed in (1, 2))
    for seen in (first, second):
        assert all(not torch.equal(one, other) for one, other in zip(seen, plain, strict=True))
    assert not torch.equal(first, second)


def test_slicer_mixes_by_k_mix_and_others_do_not(sounds):
    def partners(settings: PretrainClipsSettings) -> object:
        return ViewPretraining(settings).build_model().augmentation.steps[0].partners

    assert isinstance(partners(settings_of(sounds, "slicer")), KMix)
    off = SlicerSettings()
    off.kmix.enabled = False
    assert partners(settings_of(sounds, "slicer", slicer=off)) is any_partner
    assert partners(settings_of(sounds)) is any_partner


@pytest.mark.parametrize(
    ("given", "switch"),
    [
        (["objective=moco", "objective.moco.barlow_weight=0.1"], "objective.moco.barlow_taps=false"),
        (["objective=moco", "objective.moco.temperatures.rho=0.1"], "objective.moco.temperatures.individual=false"),
        (
            ["objective=slicer", "objective.slicer.kmix.enabled=false", "objective.slicer.kmix.clusters=3"],
            "objective.slicer.kmix.enabled=false",
        ),
        (["augment.mixup_exp.enabled=false", "augment.mixup_exp.ratio=0.9"], "augment.mixup_exp.enabled=false"),
        (["augment.mixup_exp.enabled=false", "augment.mixup_exp.memory=9"], "augment.mixup_exp.enabled=false"),
        (
            ["augment.random_resize_crop.enabled=false", "augment.random_resize_crop.smallest=0.9"],
            "augment.random_resize_crop.enabled=false",
        ),
        (["augment.spec_augment.mel_masks=9"], "augment.spec_augment.enabled=false"),
        (["augment.spec_augment.mel_share=0.1"], "augment.spec_augment.enabled=false"),
        (
            [
                "augment.spec_augment.enabled=true",
                "augment.spec_augment.time_masks=0",
                "augment.spec_augment.time_share=1",
            ],
            "augment.spec_augment.time_masks=0",
        ),
        (
            [
                "objective=mixed_barlow_twins",
                "objective.mixed_barlow_twins.mix_weight=0",
                "objective.mixed_barlow_twins.beta=2",
            ],
            "objective.mixed_barlow_twins.mix_weight=0.0",
        ),
        (
            [
                "objective=mixed_barlow_twins",
                "objective.mixed_barlow_twins.off_diagonal=0",
                "objective.mixed_barlow_twins.mix_weight=2",
            ],
            "objective.mixed_barlow_twins.off_diagonal=0.0",
        ),
    ],
)
def test_settings_of_what_is_off_are_refused(data, tmp_path, capsys, given, switch):
    assert main(["pretrain_clips", *data, *given, "schedule.steps=2", f"out={tmp_path}/run"]) == 1
    error = capsys.readouterr().err.strip()
    setting = given[-1].partition("=")[0]
    assert "\n" not in error and f"{setting} is given, and {switch} does not read it" in error


def test_k_mix_without_mixing_is_refused(data, tmp_path, capsys):
    given = ["objective=slicer", "augment.mixup_exp.enabled=false", "schedule.steps=2", f"out={tmp_path}/run"]
    assert main(["pretrain_clips", *data, *given]) == 1
    assert "kmix.enabled=false" in capsys.readouterr().err


PRESETS = {path.stem for path in (config_dir() / "objective").glob("*.yaml")} - {"hubert", "hubertopic"}


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_no_preset_gives_what_is_not_read(data, tmp_path, capsys, preset):
    """Nothing but the manifest that is not there is wrong."""
    given = [f"objective={preset}", "data.train=none.tsv", "crops=different", "schedule.steps=2"]
    assert main(["pretrain_clips", data[1], *given, f"out={tmp_path}/run"]) == 1
    assert "none.tsv" in capsys.readouterr().err
