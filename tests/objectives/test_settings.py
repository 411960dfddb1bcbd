"""Settings of objectives that cannot be, or that nothing would read, are one line of what is wrong."""

from __future__ import annotations

import pytest

from speechssl.errors import UserError
from speechssl.objectives.barlow_twins import BarlowTwinsSettings
from speechssl.objectives.contrastive import HardNegativeSettings, TemperatureSettings
from speechssl.objectives.mixed_barlow_twins import MixedBarlowTwinsSettings
from speechssl.objectives.moco import MoCoSettings
from speechssl.objectives.self_distillation import SelfDistillationSettings
from speechssl.objectives.simclr import SimClrSettings
from speechssl.objectives.slicer import SlicerSettings


@pytest.mark.parametrize(
    ("settings", "changed", "message"),
    [
        (MoCoSettings, {"hidden": -1}, r"objective\.moco\.hidden=-1 must be 0 or more"),
        (MoCoSettings, {"temperature": float("nan")}, r"objective\.moco\.temperature=nan must be more than 0"),
        (MoCoSettings, {"barlow_weight": -1.0}, r"objective\.moco\.barlow_weight=-1\.0"),
        (BarlowTwinsSettings, {"off_diagonal": -1.0}, r"objective\.barlow_twins\.off_diagonal=-1\.0"),
        (MixedBarlowTwinsSettings, {"mix_weight": -3.0}, r"objective\.mixed_barlow_twins\.mix_weight=-3\.0"),
        (SlicerSettings, {"entropy_weight": -1.0}, r"objective\.slicer\.entropy_weight=-1\.0"),
        (SelfDistillationSettings, {"tap_weight": -1.0}, r"distillation\.tap_weight=-1\.0 must be 0 or more"),
        (
            SelfDistillationSettings,
            {"detach_deepest": True, "divergence_weight": 0.0, "cosine_weight": 0.0},
            r"distillation\.detach_deepest=true is not read",
        ),
        (
            MoCoSettings,
            {"temperatures": TemperatureSettings(smallest=0.01)},
            r"^objective\.moco\.temperatures\.smallest=0\.01 must be 0\.015 or more",
        ),
        (
            SimClrSettings,
            {"temperatures": TemperatureSettings(lr=0.0)},
            r"^objective\.simclr\.temperatures\.lr=0\.0 must be more than 0",
        ),
        (
            SlicerSettings,
            {"hard_negatives": HardNegativeSettings(hardest=7)},
            r"^objective\.slicer\.hard_negatives\.hardest is given, but nothing is mixed",
        ),
        (
            SlicerSettings,
            {"hard_negatives": HardNegativeSettings(start_epoch=7)},
            r"^objective\.slicer\.hard_negatives\.start_epoch is given, but nothing is mixed",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, changed, message):
    with pytest.raises(UserError, match=message):
        settings(**changed)


def test_edges_are_taken():
    MoCoSettings(hidden=0, barlow_weight=0.0)
    SelfDistillationSettings(tap_weight=0.0)
    HardNegativeSettings(mixed_with_query=1, hardest=7, start_epoch=0).check("a")
