"""The contrast of a view with negatives (InfoNCE, arXiv 1807.03748), with two options that go with any of its users.

Synthetic hard negatives: MoCHi (arXiv 2010.01028). A temperature for each clip: iSogCLR (arXiv 2305.11965).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechssl.errors import UserError
from speechssl.limits import named, require
from speechssl.objectives.heads import full_precision
from speechssl.objectives.views import ViewBatch
from speechssl.processes import gathered, write_rows
from speechssl.settings import changed_fields, read_with

_LARGEST_GRADIENT = 3.0
"""Gradients of temperatures are cut here, as in the published code."""


@dataclass
class HardNegativeSettings:
    """MoCHi: negatives mixed from the hardest ones. It is off while both numbers of mixtures are 0."""

    mixed: int = 0
    """Negatives mixed from two hard ones, for each query (1024 as published, with a queue of 65 536)."""
    mixed_with_query: int = 0
    """Negatives mixed from a hard one and, by less than half, the query itself (128 as published)."""
    hardest: int = 1024
    """Most similar negatives of a query that are mixed (1024 as published)."""
    start_epoch: int = 10
    """First epoch with mixtures: before the encoder has learnt something, hard negatives mean nothing (10 of 100)."""

    def check(self, name: str) -> None:
        """Raise a `UserError` for settings that cannot be, of which `name` is the whole name."""
        require(named(self, "mixed", "mixed_with_query", prefix=f"{name}."), least=0)
        require({f"{name}.hardest": self.hardest}, least=1)
        unread = changed_fields(self)
        if unread and not self.mixes:
            raise UserError(
                f"{name}.{unread[0]} is given, but nothing is mixed: give {name}.mixed or {name}.mixed_with_query too, "
                "or leave it out"
            )

    @property
    def mixes(self) -> bool:
        """Whether there are mixtures at all."""
        return self.mixed + self.mixed_with_query > 0

    def mixes_in(self, epoch: int) -> bool:
        """Return whether there are mixtures in an epoch."""
        return self.mixes and epoch >= self.start_epoch


@dataclass
class TemperatureSettings:
    """iSogCLR: each clip has a temperature of its own, which is learnt."""

    individual: bool = False
    """Whether it is on. Else, and in validation, all have the objective's `temperature`, where learnt ones start."""
    rho: float = field(default=0.3, metadata=read_with("individual", True))
    """How far the weights of a clip's negatives may be from equal: larger is colder."""
    smallest: float = field(default=0.05, metadata=read_with("individual", True))
    """Lowest temperature."""
    largest: float = field(default=0.7, metadata=read_with("individual", True))
    """Highest temperature."""
    newest: float = field(default=0.8, metadata=read_with("individual", True))
    """Share of the newest batch in the running mean of a clip's `exp(similarity / temperature)` (g)."""
    lr: float = field(default=0.03, metadata=read_with("individual", True))
    """Learning rate of the temperatures."""
    newest_gradient: float = field(default=0.5, metadata=read_with("individual", True))
    """Share of the newest gradient in the running mean of a temperature's gradients."""

    def check(self, name: str) -> None:
        """Raise a `UserError` for settings that cannot be, of which `name` is the whole name."""
        require(named(self, "lr", "rho", prefix=f"{name}."), above=0)
        # The sum of exp(1 / temperature) over a queue stays within float32.
        require(named(self, "largest", "smallest", prefix=f"{name}."), least=0.015)
        require({f"{name}.smallest": self.smallest}, most=self.largest)
        require(named(self, "newest", "newest_gradient", prefix=f"{name}."), above=0, most=1)


class Contrasted(NamedTuple):
    """The loss of a batch of queries."""

    loss: Tensor
    """Scalar: the mean over the queries."""
    correct: Tensor
    """Scalar: the number of queries that are nearer to their key than to any negative (synthetic ones left out)."""


class Contrast(nn.Module):
    """Tells the key of each query from negatives, by cosine similarity.

    Without options the loss is `-log(exp(q k / T) / (exp(q k / T) + sum_n exp(q n / T)))`.

    With individual temperatures T_i it is the gradient estimator of iSogCLR, `mean_n(w_in q n) - q k`, the weights
    `w_in = exp(q n / T_i) / s_i` being constants: its gradient is that of `T_i log mean_n exp(q n / T_i) - q k`, with
    the mean over all negatives ever met (s_i, a running mean) in place of those of the batch.

    Args:
        temperature: T.
        hard_negatives: see :class:`HardNegativeSettings`.
        temperatures: see :class:`TemperatureSettings`.
        clips: number of clips in the training manifest; read with individual temperatures only.
    """

    running_mean: Tensor
    running_gradient: Tensor
    temperatures: Tensor

    def __init__(
        self, temperature: float, hard_negatives: HardNegativeSettings, temperatures: TemperatureSettings, clips: int
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.hard_negatives = hard_negatives
        self.individual = temperatures if temperatures.individual else None
        if self.individual:
            start = min(max(temperature, temperatures.smallest), temperatures.largest)
            self.register_buffer("running_mean", torch.zeros(clips))
            self.register_buffer("running_gradient", torch.zeros(clips))
            self.register_buffer("temperatures", torch.full((clips,), start))

    def check_epochs(self, epochs: float) -> None:
        """Raise a `UserError` if a run of so many epochs would be over before the first synthetic negatives."""
        settings = self.hard_negatives
        if settings.mixes and epochs <= settings.start_epoch:
            raise UserError(
                f"hard_negatives.start_epoch={settings.start_epoch}, but the run has {epochs:.3g} epochs, so "
                "none would be mixed: set a smaller hard_negatives.start_epoch, or train longer"
            )

    def forward(
        self, queries: Tensor, keys: Tensor, negatives: Tensor, batch: ViewBatch, allowed: Tensor | None = None
    ) -> Contrasted:
        """Return the mean loss.

        Args:
            queries: `(views * batch, dim)`, each of length 1: those of the clips' first views come first.
            keys: `(views * batch, dim)`: what each query belongs with.
            negatives: `(negatives, dim)`.
            batch: where the queries are from.
            allowed: `(views * batch, negatives)`, true where a query has that negative. None: all.
        """
        with full_precision(queries):
            positive = (queries * keys).sum(1)
            similar = queries @ negatives.T
            if allowed is not None:
                similar = similar.masked_fill(~allowed, -torch.inf)
            correct = (positive > similar.max(1).values).sum()
            if self.training and self.hard_negatives.mixes_in(batch.epoch):
                number = len(negatives) if allowed is None else max(1, int(allowed.sum(1).min()))
                similar = torch.cat([similar, self._synthetic(queries, negatives, similar, number)], dim=1)
            if self.training and self.individual:
                loss = self._individual_loss(self.individual, positive, similar, batch.clips)
            else:
                logits = torch.cat([positive[:, None], similar], dim=1) / self.temperature
                loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))
        return Contrasted(loss, correct)

    def _synthetic(self, queries: Tensor, negatives: Tensor, similar: Tensor, number: int) -> Tensor:
        """Return similarities `(queries, mixed + mixed_with_query)` to mixtures of negatives.

        Each query has `number` negatives or more.
        """
        settings, device = self.hard_negatives, queries.device
        with torch.no_grad():
            hardest = similar.topk(min(settings.hardest, number), dim=1).indices

            def drawn(count: int) -> Tensor:
                """Draw hard negatives `(queries, count, dim)`."""
                ranks = torch.randint(hardest.shape[1], (len(queries), count), device=device)
                return negatives[hardest.gather(1, ranks)]

            share = torch.rand(len(queries), settings.mixed, 1, device=device)
            pairs = share * drawn(settings.mixed) + (1 - share) * drawn(settings.mixed)
            share = torch.rand(len(queries), settings.mixed_with_query, 1, device=device) / 2
            with_query = share * queries[:, None] + (1 - share) * drawn(settings.mixed_with_query)
            synthetic = F.normalize(torch.cat([pairs, with_query], dim=1), dim=2)
        return torch.einsum("qd,qnd->qn", queries, synthetic)

    def _individual_loss(
        self, settings: TemperatureSettings, positive: Tensor, similar: Tensor, clips: Tensor
    ) -> Tensor:
        """Return the loss with the clips' own temperatures, and move these on."""
        views = len(positive) // len(clips)
        temperature, mean = self.temperatures[clips].repeat(views), self.running_mean[clips].repeat(views)
        allowed = similar > -torch.inf
        # A query that has no negative, as in a queue of its own keys alone, learns from its key.
        number = allowed.sum(1).clamp(min=1)
        similar = similar.masked_fill(~allowed, 0)
        scaled = similar.detach() / temperature[:, None]
        grown = scaled.exp() * allowed
        newest = grown.sum(1) / number
        mean = torch.where(mean > 0, mean.lerp(newest, settings.newest), newest)
        weights = grown / mean.clamp(min=torch.finfo(mean.dtype).tiny)[:, None]
        gradient = mean.log() + settings.rho - (weights * scaled).sum(1) / number
        gradient = gradient.where(mean > 0, 0.0)
        self._move_on(settings, clips, mean, gradient.clamp(-_LARGEST_GRADIENT, _LARGEST_GRADIENT))
        return ((weights * similar).sum(1) / number - positive).mean()

    @torch.no_grad()
    def _move_on(self, settings: TemperatureSettings, clips: Tensor, mean: Tensor, gradient: Tensor) -> None:
        """Take a step with the temperatures of the clips of all processes; several views of a clip are averaged."""
        state = torch.stack([mean, gradient], dim=1).view(-1, len(clips), 2).mean(0)
        clips, state = gathered(clips), gathered(state)
        gradient = self.running_gradient[clips].lerp(state[:, 1], settings.newest_gradient)
        temperatures = (self.temperatures[clips] - settings.lr * gradient).clamp(settings.smallest, settings.largest)
        write_rows(self.running_mean, clips, state[:, 0])
        write_rows(self.running_gradient, clips, gradient)
        write_rows(self.temperatures, clips, temperatures)
