"""MoCo v2 (arXiv 2003.04297); with the Barlow term on the taps it is DeLoRes-M (IEEE JSTSP 2022)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from speechssl.errors import UserError
from speechssl.limits import named, require
from speechssl.models.backbone import Backbone
from speechssl.objectives.barlow_twins import barlow_loss, cross_correlation
from speechssl.objectives.contrastive import Contrast, HardNegativeSettings, TemperatureSettings
from speechssl.objectives.heads import MomentumCopy, projection, unit_vectors
from speechssl.objectives.objective import ObjectiveOutput
from speechssl.objectives.queues import KeyQueue
from speechssl.objectives.views import (
    ViewBatch,
    ViewObjective,
)
from speechssl.settings import read_with


@dataclass
class MoCoSettings:
    """Tell the other view of a clip from a queue of earlier clips."""

    projection: int = 128
    """Width of queries and keys."""
    hidden: int = 2048
    """Width of the hidden layer of the head, as in MoCo v2. 0: a linear head, as in the code of DeLoRes-M."""
    queue: int = 65_536
    """Keys kept as negatives (65 536 as published); those of the clip itself are left out. A run keeps at most half as
    many as there are clips: more would be older keys of the same clips."""
    momentum: float = 0.999
    """How slowly the encoder of the keys follows: 0.999 of it stays in each update."""
    temperature: float = 0.07
    """Divides the cosine similarities."""
    barlow_taps: bool = False
    """Whether the taps of the two encoders are decorrelated too: this makes it DeLoRes-M."""
    barlow_weight: float = field(default=0.001, metadata=read_with("barlow_taps", True))
    """Weight of the Barlow term, summed over taps (this project's choice: about as large as the contrast at first)."""
    barlow_projector: int = field(default=2048, metadata=read_with("barlow_taps", True))
    """Width of the three layers of the projector of each tap."""
    barlow_off_diagonal: float = field(default=0.0051, metadata=read_with("barlow_taps", True))
    """Weight of the correlations between different features (0.0051 as in Barlow Twins; 1 in the code of DeLoRes-M)."""
    hard_negatives: HardNegativeSettings = field(default_factory=HardNegativeSettings)
    """MoCHi."""
    temperatures: TemperatureSettings = field(default_factory=TemperatureSettings)
    """iSogCLR."""

    def __post_init__(self) -> None:
        positive = ("temperature", "projection", "queue", "barlow_projector")
        require(named(self, *positive, prefix="objective.moco."), above=0)
        require(named(self, "hidden", "barlow_weight", "barlow_off_diagonal", prefix="objective.moco."), least=0)
        require({"objective.moco.momentum": self.momentum}, least=0, most=1)
        self.hard_negatives.check("objective.moco.hard_negatives")
        self.temperatures.check("objective.moco.temperatures")


class MoCo(ViewObjective):
    """The last view is the key, which a slowly following copy of the encoder makes; the others are its queries.

    The published code shuffles the keys over several GPUs, so that statistics of BatchNorm cannot tell which key is
    of the same batch. Here they are not shuffled.

    Args:
        backbone: the encoder, which is copied.
        settings: see :class:`MoCoSettings`.
        clips: number of clips in the training manifest; read with individual temperatures only.

    Raises:
        UserError: the taps are to be decorrelated, and the backbone has none.
    """

    def __init__(self, backbone: Backbone, settings: MoCoSettings, clips: int = 0) -> None:
        super().__init__()
        if settings.barlow_taps and not backbone.tap_dims:
            raise UserError(
                "objective.moco.barlow_taps=true, but this backbone has no taps: give model.vit_layers=2 or more, "
                "or objective.moco.barlow_taps=false"
            )
        self.settings = settings
        widths = [backbone.dim, *([settings.hidden] if settings.hidden else []), settings.projection]
        self.head = projection(widths, norm=False)
        self.slow = MomentumCopy(settings.momentum, backbone, self.head)
        self.queue = KeyQueue(settings.queue, settings.projection)
        self.contrast = Contrast(settings.temperature, settings.hard_negatives, settings.temperatures, clips)
        tap_dims = backbone.tap_dims if settings.barlow_taps else []
        self.tap_projectors = nn.ModuleList(
            projection([dim, *[settings.barlow_projector] * 3], bias=False) for dim in tap_dims
        )
        self.metrics = ["contrast_loss", "contrast_accuracy", *(["barlow_loss"] if settings.barlow_taps else [])]

    def check_epochs(self, epochs: float) -> None:
        """See :meth:`Contrast.check_epochs`."""
        self.contrast.check_epochs(epochs)

    def forward(self, backbone: Backbone, batch: ViewBatch) -> ObjectiveOutput:
        """Return the loss; metrics: `contrast_loss`, `contrast_accuracy`, and `barlow_loss` of the taps."""
        *others, last = batch.views
        if self.training:
            self.slow.follow(backbone, self.head)
        outputs = [backbone(view) for view in others]
        queries = torch.cat([unit_vectors(self.head(output.pooled)) for output in outputs])
        with torch.no_grad():
            slow_backbone, slow_head = self.slow.copies
            key_output = slow_backbone(last)
            keys = unit_vectors(slow_head(key_output.pooled))
        # A copy: the queue moves on before the backward pass.
        allowed = self.queue.of_others(batch.clips).repeat(len(others), 1)
        loss, correct = self.contrast(queries, keys.repeat(len(others), 1), self.queue.keys.clone(), batch, allowed)
        if self.training:
            self.queue.push(keys, batch.clips)
        count = len(queries)
        metrics = {"contrast_loss": (loss.detach() * count, count), "contrast_accuracy": (correct, count)}
        if self.settings.barlow_taps:
            barlow = torch.stack([self._barlow(output.taps, key_output.taps) for output in outputs]).mean()
            loss = loss + self.settings.barlow_weight * barlow
            metrics["barlow_loss"] = (barlow.detach() * count, count)
        return ObjectiveOutput(loss, metrics)

    def _barlow(self, taps: list[Tensor], key_taps: list[Tensor]) -> Tensor:
        """Return the loss of Barlow Twins between the taps of the two encoders, summed over the taps."""
        losses = [
            barlow_loss(cross_correlation(projector(tap), projector(key_tap)), self.settings.barlow_off_diagonal)
            for projector, tap, key_tap in zip(self.tap_projectors, taps, key_taps, strict=True)
        ]
        return torch.stack(losses).sum()
