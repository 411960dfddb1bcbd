"""Which objective over views is trained, and with which settings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import Enum

from speechssl.errors import UserError
from speechssl.models.backbone import Backbone
from speechssl.objectives.barlow_twins import BarlowTwins, BarlowTwinsSettings
from speechssl.objectives.byol import Byol, ByolSettings
from speechssl.objectives.decar import Decar, DecarSettings
from speechssl.objectives.mixed_barlow_twins import MixedBarlowTwins, MixedBarlowTwinsSettings
from speechssl.objectives.moco import MoCo, MoCoSettings
from speechssl.objectives.simclr import Cola, ColaSettings, SimClr, SimClrSettings
from speechssl.objectives.slicer import Slicer, SlicerSettings
from speechssl.objectives.views import ViewObjective


class ViewObjectiveName(Enum):
    """Objectives over views."""

    barlow_twins = "barlow_twins"
    byol = "byol"
    cola = "cola"
    decar = "decar"
    mixed_barlow_twins = "mixed_barlow_twins"
    moco = "moco"
    simclr = "simclr"
    slicer = "slicer"


@dataclass
class ViewObjectiveSettings:
    """One objective and its settings; those of the others stay as they are."""

    name: ViewObjectiveName = ViewObjectiveName.decar
    """Which one."""
    barlow_twins: BarlowTwinsSettings = field(default_factory=BarlowTwinsSettings)
    """Barlow Twins; DeLoRes-S."""
    byol: ByolSettings = field(default_factory=ByolSettings)
    """BYOL-A."""
    cola: ColaSettings = field(default_factory=ColaSettings)
    """COLA: the other clip of the recording, by a bilinear similarity."""
    decar: DecarSettings = field(default_factory=DecarSettings)
    """DECAR-v2, the first step of UnFuSeD."""
    mixed_barlow_twins: MixedBarlowTwinsSettings = field(default_factory=MixedBarlowTwinsSettings)
    """Mixed Barlow Twins."""
    moco: MoCoSettings = field(default_factory=MoCoSettings)
    """MoCo v2; DeLoRes-M with `barlow_taps`."""
    simclr: SimClrSettings = field(default_factory=SimClrSettings)
    """SimCLR."""
    slicer: SlicerSettings = field(default_factory=SlicerSettings)
    """SLICER."""

    def __post_init__(self) -> None:
        for other in dataclasses.fields(self):
            settings = getattr(self, other.name)
            if other.name not in ("name", self.name.value) and settings != type(settings)():
                raise UserError(
                    f"objective.{other.name} is set, but the objective is {self.name.value}, which does not read it: "
                    f"use objective={other.name}, or leave it out"
                )


def build_view_objective(settings: ViewObjectiveSettings, backbone: Backbone, clips: int) -> ViewObjective:
    """Return the objective that the settings name.

    Args:
        settings: its name and settings.
        backbone: the encoder.
        clips: number of recordings in the training manifest.
    """
    match settings.name:
        case ViewObjectiveName.barlow_twins:
            return BarlowTwins(backbone, settings.barlow_twins)
        case ViewObjectiveName.byol:
            return Byol(backbone, settings.byol)
        case ViewObjectiveName.cola:
            return Cola(backbone, settings.cola)
        case ViewObjectiveName.decar:
            return Decar(backbone, settings.decar, clips)
        case ViewObjectiveName.mixed_barlow_twins:
            return MixedBarlowTwins(backbone, settings.mixed_barlow_twins)
        case ViewObjectiveName.moco:
            return MoCo(backbone, dataclasses.replace(settings.moco, queue=_queue(settings.moco.queue, clips)), clips)
        case ViewObjectiveName.simclr:
            return SimClr(backbone, settings.simclr, clips)
        case ViewObjectiveName.slicer:
            queue = _queue(settings.slicer.queue, clips)
            return Slicer(backbone, dataclasses.replace(settings.slicer, queue=queue), clips)


def _queue(size: int, clips: int) -> int:
    """Return the keys that are kept: at most half as many as there are clips; more would be of the same clips."""
    return min(size, max(1, clips // 2))
