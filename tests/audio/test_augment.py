import math

import pytest
import torch
from torch.nn import functional
from torchaudio.functional import mask_along_axis_iid

from speechssl.audio.augment import (
    AugmentSettings,
    MixupExp,
    MixupExpSettings,
    RandomResizeCrop,
    RandomResizeCropSettings,
    SpecAugment,
    SpecAugmentSettings,
    build_augmentation,
    resize_crops,
)
from speechssl.errors import UserError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def log_mels(batch=6, mels=64, frames=96, seed=1):
    return torch.randn(batch, mels, frames, generator=seeded(seed))


def constant(values, mels=2, frames=3):
    return torch.tensor(values, dtype=torch.float32)[:, None, None].expand(-1, mels, frames)


def everything_on():
    return AugmentSettings(
        mixup_exp=MixupExpSettings(memory=16), spec_augment=SpecAugmentSettings(enabled=True, mel_share=0.5)
    )


# Mixup


def test_mixup_is_a_mean_of_the_exponentials():
    """Input 1 and memory 3 in the linear domain: log(1 + 2a) with a from 0 to 0.4, 0.2 in the mean."""
    mixup = MixupExp(MixupExpSettings(memory=1), 2, 3)
    mixup(constant([math.log(3.0)]), seeded())
    views = mixup(torch.zeros(4000, 2, 3), seeded(2))
    shares = (views.exp() - 1) / 2
    assert (shares == shares[:, :1, :1]).all()
    shares = shares[:, 0, 0]
    assert shares.min() >= 0
    assert 0.399 < shares.max() <= 0.4 + 1e-6
    # 0.4 / sqrt(12) / sqrt(4000) = 0.0018 is one standard error.
    assert abs(shares.mean() - 0.2) < 0.007
    assert len(shares.unique()) > 3900


def test_mixup_draws_partners_from_all_of_the_memory():
    """Against an input of e^-1000 all that is left is the partner, lowered by log a, which is above -20 here."""
    mixup = MixupExp(MixupExpSettings(memory=4), 2, 3)
    mixup(constant([0.0, 100.0, 200.0]), seeded())
    partners = mixup(constant([-1000.0] * 3000), seeded(3))[:, 0, 0]
    counts = torch.bincount((partners / 100).ceil().long(), minlength=3)
    # The fourth place of the memory is still empty. Each of the three has a third, 26 is one standard deviation.
    assert counts.tolist() == pytest.approx([1000, 1000, 1000], abs=110)


def test_mixup_remembers_the_newest_inputs_unmixed():
    mixup = MixupExp(MixupExpSettings(memory=3), 2, 3)

    def memory():
        return sorted(mixup.memory[:, 0, 0].tolist())

    mixup(constant([1.0, 2.0]), seeded())
    assert memory() == [0.0, 1.0, 2.0]
    mixup(constant([3.0, 4.0]), seeded())
    assert memory() == [2.0, 3.0, 4.0]
    mixup(constant([5.0, 6.0, 7.0, 8.0, 9.0]), seeded())
    assert memory() == [7.0, 8.0, 9.0]
    mixup(constant([10.0]), seeded())
    assert memory() == [8.0, 9.0, 10.0]


def test_mixup_leaves_the_first_batch_as_it_is():
    batch = log_mels()
    assert torch.equal(MixupExp(MixupExpSettings(), 64, 96)(batch, seeded()), batch)


def test_mixup_does_not_overflow():
    mixup = MixupExp(MixupExpSettings(), 2, 3)
    mixup(constant([1000.0]), seeded())
    assert mixup(constant([-1000.0, 2000.0]), seeded()).isfinite().all()


def test_mixup_does_not_remember_what_is_not_finite():
    mixup = MixupExp(MixupExpSettings(memory=3), 2, 3)
    mixup(constant([1.0, 2.0, 3.0]), seeded())
    mixup(constant([math.nan, math.inf, 4.0]), seeded())
    assert sorted(mixup.memory[:, 0, 0].tolist()) == [1.0, 2.0, 4.0]


def test_mixup_remembers_nothing_of_validation():
    mixup = MixupExp(MixupExpSettings(memory=3), 2, 3).eval()
    mixup(constant([1.0, 2.0]), seeded())
    assert not mixup.remembered
    assert not mixup.memory.any()


# Random resize crop


def interpolate(batch):
    """In double precision: in single, torch's positions are off by up to 1e-5 of a frame."""
    resized = functional.interpolate(batch[:, None].double(), size=(64, 96), mode="bicubic", align_corners=True)
    return resized[:, 0].float()


@pytest.mark.parametrize(
    ("top", "height", "left", "width"),
    [
        (0, 64, 0, 96),
        (10, 40, 20, 60),
        (0, 64, -24, 144),
        (5, 50, -24, 60),
        (20, 38, 60, 60),
        (0, 1, 95, 1),
        (62, 2, -24, 2),
        (3, 3, 100, 20),
    ],
)
def test_resizing_equals_interpolate(top, height, left, width):
    """Crops of a canvas with 24 frames of zeros on both sides, among others in one batch."""
    batch = log_mels(2)
    canvas = functional.pad(batch[1], (24, 24))
    crop = canvas[top : top + height, 24 + left : 24 + left + width]
    expected = interpolate(crop[None])[0]
    rows = torch.tensor([[4, top], [33, height]])
    columns = torch.tensor([[-8, left], [77, width]])
    torch.testing.assert_close(resize_crops(batch, rows, columns)[1], expected, atol=1e-5, rtol=0)


def test_the_whole_clip_resized_is_the_clip():
    batch = log_mels(3)
    rows = torch.tensor([[0] * 3, [64] * 3])
    columns = torch.tensor([[0] * 3, [96] * 3])
    assert torch.equal(resize_crops(batch, rows, columns), batch)
    crop = RandomResizeCrop(RandomResizeCropSettings(canvas_frames=1.0, smallest=1.0, largest=1.0))
    assert torch.equal(crop(batch, seeded()), batch)


def test_the_clip_lies_in_the_middle_of_the_canvas():
    """Scale 1.5 takes the whole canvas: 64 x 144, the clip behind 24 frames of zeros."""
    batch = log_mels(2)
    crop = RandomResizeCrop(RandomResizeCropSettings(smallest=1.5, largest=1.5))
    expected = interpolate(functional.pad(batch, (24, 24)))
    torch.testing.assert_close(crop(batch, seeded()), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("axis", [1, 2])
def test_crops_have_the_drawn_sizes_and_places(axis):
    """A clip that counts its own rows shows in its first and last row which rows a crop took."""
    batch = torch.arange(60.0).expand(4000, 20, 60) if axis == 2 else torch.arange(60.0)[:, None].expand(4000, 60, 20)
    views = RandomResizeCrop(RandomResizeCropSettings(canvas_frames=1.0))(batch, seeded()).movedim(axis, 0)
    first, last = views[0, :, 7], views[-1, :, 7]
    sizes = (last - first).round() + 1
    assert first.min() > -1e-3
    assert last.max() < 59.001
    assert (sizes.min(), sizes.max()) == (36, 60)
    # Scales of 1 to 1.5, of 0.6 to 1.5, are cut down to the canvas: 5 of 9; 0.008 is one standard error.
    assert abs((sizes == 60).float().mean() - 5 / 9) < 0.03
    smaller = sizes < 60
    # 24 sizes of the same probability: 47.5 in the mean; places from the first to the last with the same probability.
    assert abs(sizes[smaller].mean() - 47.5) < 0.7
    assert abs((first / (60 - sizes))[smaller].mean() - 0.5) < 0.03


def test_each_clip_has_its_own_crop():
    views = RandomResizeCrop(RandomResizeCropSettings())(log_mels(1).expand(8, -1, -1), seeded())
    assert len(views.flatten(1).unique(dim=0)) == 8


@pytest.mark.parametrize(("mels", "frames"), [(64, 1), (1, 96), (64, 1001)])
def test_crops_of_other_shapes(mels, frames):
    batch = log_mels(2, mels, frames)
    views = RandomResizeCrop(RandomResizeCropSettings())(batch, seeded())
    assert views.shape == batch.shape
    assert views.isfinite().all()


# SpecAugment


@pytest.mark.parametrize("masks", [0, 1, 3])
def test_masks_are_torchaudio_s(masks):
    batch = log_mels(5)
    expected = batch
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for _ in range(masks):
            expected = mask_along_axis_iid(expected, 16, 0.0, 1)
        for _ in range(masks):
            expected = mask_along_axis_iid(expected, 19, 0.0, 2)
    settings = SpecAugmentSettings(mel_masks=masks, mel_share=0.25, time_masks=masks, time_share=0.2)
    assert torch.equal(SpecAugment(settings)(batch, seeded(7)), expected)


# Views


def test_the_same_generator_state_gives_the_same_view_and_nothing_else_decides():
    augmentation = build_augmentation(everything_on(), 64, 96).eval()
    batch = log_mels()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = augmentation(batch, seeded(5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    assert torch.equal(augmentation(batch, seeded(5)), first)
    assert not torch.equal(augmentation(batch, seeded(6)), first)


def test_a_run_that_goes_on_from_a_checkpoint_sees_the_same_views():
    augmentation, generator = build_augmentation(everything_on(), 64, 96), seeded(5)
    for seed in range(4):
        augmentation(log_mels(seed=seed), generator)
    state, random_state = augmentation.state_dict(), generator.get_state()
    state = {name: tensor.clone() for name, tensor in state.items()}
    expected = [augmentation(log_mels(seed=seed), generator) for seed in (4, 5, 6)]
    resumed, generator = build_augmentation(everything_on(), 64, 96), seeded()
    resumed.load_state_dict(state)
    generator.set_state(random_state)
    for seed, view in zip((4, 5, 6), expected, strict=True):
        assert torch.equal(resumed(log_mels(seed=seed), generator), view)


def test_views_are_mixed_then_cropped_then_masked():
    settings, batch = everything_on(), log_mels()
    augmentation, generator = build_augmentation(settings, 64, 96), seeded()
    augmentation(batch, generator)
    by_hand = MixupExp(settings.mixup_exp, 64, 96)
    by_hand(batch, seeded())
    state = generator.get_state()
    view = augmentation(batch, generator)
    generator.set_state(state)
    expected = by_hand(batch, generator)
    expected = RandomResizeCrop(settings.random_resize_crop)(expected, generator)
    assert torch.equal(view, SpecAugment(settings.spec_augment)(expected, generator))


def test_what_is_off_does_nothing():
    off = AugmentSettings(MixupExpSettings(enabled=False), RandomResizeCropSettings(enabled=False))
    augmentation = build_augmentation(off, 64, 96)
    batch = log_mels()
    augmentation(batch, seeded())
    assert torch.equal(augmentation(batch, seeded()), batch)
    assert not augmentation.state_dict()


def test_autocast_does_not_lower_the_precision():
    augmentation = build_augmentation(everything_on(), 64, 96)
    augmentation(log_mels(seed=3), seeded())
    augmentation.eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        view = augmentation(log_mels(), seeded(1))
    assert view.dtype == torch.float32
    torch.testing.assert_close(view, augmentation(log_mels(), seeded(1)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("settings", "changed", "message"),
    [
        (MixupExpSettings, {"ratio": 1.1}, "ratio"),
        (MixupExpSettings, {"memory": 0}, "memory"),
        (RandomResizeCropSettings, {"canvas_frames": 0.9}, "canvas_frames"),
        (RandomResizeCropSettings, {"smallest": 1.6}, "smallest"),
        (SpecAugmentSettings, {"time_masks": -1}, "time_masks"),
        (SpecAugmentSettings, {"mel_share": 1.5}, "mel_share"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, changed, message):
    with pytest.raises(UserError, match=message):
        settings(**changed)
