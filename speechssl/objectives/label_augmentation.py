"""Self-supervised label augmentation with self-distillation (SLA+SD; Lee, Hwang, Shin, ICML 2020, arXiv 1910.05872).

A clip is seen as it is and transformed in some ways. One head learns joint labels: which class, and which of these
views. Told the view, it predicts the class; the mean of its logits over the views is the aggregate. The aggregate
teaches a second head the class of the clip as it is, so that a prediction needs this one view only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechssl.audio.transformations import Transformation, transform
from speechssl.errors import UserError
from speechssl.limits import require
from speechssl.objectives.heads import full_precision
from speechssl.objectives.objective import ObjectiveOutput


@dataclass
class LabelAugmentationSettings:
    """Label augmentation with self-distillation; off where there is no transformation."""

    transformations: list[Transformation] = field(default_factory=list)
    """`[backwards,slower,faster]`, or some of them: played backwards, 0.8 and 1.25 times as fast. Each makes an update
    take as much time and memory again; a prediction takes what it took. Leave out what makes one class sound like
    another (backwards, where a rising tone is one class and a falling tone another). `[]`: off."""
    beta: float = 1.0
    """Weight of the cross-entropy of the head that predicts, beside what it learns from the aggregate (0 or 1 as
    published)."""

    def check(self, name: str) -> None:
        """Raise a `UserError` for settings that cannot be, of which `name` is the whole name."""
        if len(set(self.transformations)) < len(self.transformations):
            raise UserError(f"{name}.transformations={[kind.value for kind in self.transformations]}: name each once")
        require({f"{name}.beta": self.beta}, least=0)
        if not self.transformations and self.beta != LabelAugmentationSettings.beta:
            raise UserError(
                f"{name}.beta={self.beta:g} is given and {name}.transformations is not, so it is not read: "
                f"set {name}.transformations=[backwards,slower,faster], or leave {name}.beta out"
            )


class LabelAugmentation(nn.Module):
    """The joint head and the loss.

    With x the clip, x_j its view j of M, z_j the joint logits of x_j, s the logits of the head that predicts and y the
    class, the loss is a mean over the batch of
    `1/M sum_j CE(z_j, (y, j)) + KL(softmax a || softmax s(x)) + beta CE(s(x), y)`, where `a = 1/M sum_j z_j[., j]` is
    the aggregate, a fixed target.

    Args:
        dim: width of the encoder's pooled output.
        classes: number of classes.
        settings: transformations, one at least.
    """

    metrics = ("aggregate_accuracy", "joint_loss")

    def __init__(self, dim: int, classes: int, settings: LabelAugmentationSettings) -> None:
        super().__init__()
        self.settings = settings
        self.views = 1 + len(settings.transformations)
        self.joint = nn.Linear(dim, classes * self.views)

    def see(self, waveforms: Tensor) -> Tensor:
        """Return all views `(views * batch, samples)` of clips `(batch, samples)`: first all of them as they are."""
        return torch.cat([waveforms, *(transform(waveforms, kind) for kind in self.settings.transformations)])

    def forward(self, pooled: Tensor, single: Tensor, labels: Tensor) -> ObjectiveOutput:
        """Return the mean loss of a batch.

        Args:
            pooled: `(views * batch, dim)`: what the encoder pools of all views.
            single: `(batch, classes)` logits of the clips as they are, by the head that predicts.
            labels: `(batch,)` int64.

        Returns:
            The loss; metrics `joint_loss` (of the joint head) and `aggregate_accuracy`.
        """
        count = len(labels)
        logits = self.joint(pooled).float().view(self.views, count, -1, self.views)
        view = torch.arange(self.views, device=labels.device)[:, None]
        with full_precision(logits):
            joint_loss = F.cross_entropy(logits.flatten(2).flatten(0, 1), (labels * self.views + view).flatten())
            aggregate = logits.detach().diagonal(dim1=0, dim2=3).mean(dim=2)
            learnt = F.log_softmax(single.float(), dim=1)
            divergence = F.kl_div(learnt, F.log_softmax(aggregate, dim=1), reduction="batchmean", log_target=True)
            loss = joint_loss + divergence + self.settings.beta * F.nll_loss(learnt, labels)
        metrics = {
            "joint_loss": (joint_loss.detach() * count, count),
            "aggregate_accuracy": ((aggregate.argmax(dim=1) == labels).sum(), count),
        }
        return ObjectiveOutput(loss, metrics)
