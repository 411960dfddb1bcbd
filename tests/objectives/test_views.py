"""Settings that no objective could train with."""

from __future__ import annotations

from typing import Any

import pytest

from speechssl.errors import UserError
from speechssl.objectives.barlow_twins import BarlowTwinsSettings
from speechssl.objectives.byol import ByolSettings
from speechssl.objectives.decar import DecarSettings
from speechssl.objectives.mixed_barlow_twins import MixedBarlowTwinsSettings
from speechssl.objectives.moco import MoCoSettings
from speechssl.objectives.simclr import ColaSettings, SimClrSettings
from speechssl.objectives.slicer import SlicerSettings


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (BarlowTwinsSettings, "barlow_twins.projector", 0),
        (MixedBarlowTwinsSettings, "mixed_barlow_twins.beta", -1.0),
        (DecarSettings, "decar.temperature", 0.0),
        (DecarSettings, "decar.iterations", 0),
        (MoCoSettings, "moco.queue", 0),
        (MoCoSettings, "moco.momentum", 1.1),
        (SlicerSettings, "slicer.cluster_temperature", 0.0),
        (SlicerSettings, "slicer.momentum", -0.1),
        (SimClrSettings, "simclr.temperature", 0.0),
        (ColaSettings, "cola.projection", 0),
        (ByolSettings, "byol.momentum", 1.5),
    ],
)
def test_settings_are_refused_by_name(settings: Any, name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"^objective.{name}={value} must be"):
        settings(**{name.split(".")[1]: value})
