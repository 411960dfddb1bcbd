"""Self-distillation on pseudo-labels: the third step of UnFuSeD (arXiv 2303.05668).

The heads, the losses and their weights are those of SSSD (Chen and Chu, WACV 2023): the deepest classifier teaches a
classifier at each inner block.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from speechssl.errors import UserError
from speechssl.limits import named, require
from speechssl.models.backbone import Backbone, BackboneOutput
from speechssl.objectives.heads import full_precision, projection
from speechssl.objectives.objective import ObjectiveOutput
from speechssl.settings import changed_fields


@dataclass
class SelfDistillationSettings:
    """Weights of the losses at the inner blocks; the deepest classifier's cross-entropy has weight 1."""

    tap_weight: float = 0.7
    """Weight of each inner classifier's cross-entropy with the pseudo-labels."""
    divergence_weight: float = 0.3
    """Weight of the divergence of each inner classifier from the deepest one."""
    cosine_weight: float = 0.003
    """Weight of the distance between each inner classifier's logits and the deepest one's, both with length 1."""
    detach_deepest: bool = False
    """Whether the deepest logits are a fixed target of the other classifiers. As published they are moved by them."""

    def __post_init__(self) -> None:
        require(named(self, "tap_weight", "divergence_weight", "cosine_weight", prefix="distillation."), least=0)
        if self.detach_deepest and not self.divergence_weight and not self.cosine_weight:
            raise UserError(
                "distillation.detach_deepest=true is not read where distillation.divergence_weight and cosine_weight "
                "are 0: leave it out"
            )


class SelfDistillation(nn.Module):
    """Classifiers at the taps and at the pooled output learn pseudo-labels, and the former also the latter's view.

    With q the deepest logits, q_i those at tap i and y the pseudo-label, the loss is, at temperature 1,
    `CE(q, y) + sum_i [a CE(q_i, y) + b KL(softmax q || softmax q_i) + c (2 - 2 cos(q_i, q))]`, a mean over the batch.

    Args:
        backbone: the encoder; only its widths are read.
        clusters: number of pseudo-labels.
        settings: weights.

    Raises:
        UserError: a weight is set, and the backbone has no taps to weigh.
    """

    def __init__(self, backbone: Backbone, clusters: int, settings: SelfDistillationSettings) -> None:
        super().__init__()
        changed = changed_fields(settings)
        if changed and not backbone.tap_dims:
            raise UserError(f"distillation.{changed[0]} is set, but this backbone has no taps: leave it out")
        self.settings = settings
        self.classifier = nn.Linear(backbone.dim, clusters)
        self.tap_heads = nn.ModuleList(projection([dim, *[clusters] * 3], bias=False) for dim in backbone.tap_dims)
        taps = range(1, len(self.tap_heads) + 1)
        self.metrics = ["distillation_loss", "pseudo_label_loss", "pseudo_label_accuracy"]
        self.metrics += [f"pseudo_label_accuracy_tap{tap}" for tap in taps]

    def forward(self, output: BackboneOutput, pseudo_labels: Tensor) -> ObjectiveOutput:
        """Return the mean loss of a batch.

        Args:
            output: what the backbone made of the batch.
            pseudo_labels: `(batch,)` int64.

        Returns:
            The loss; metrics `distillation_loss` (all of it), `pseudo_label_loss` and `pseudo_label_accuracy` (of the
            deepest classifier) and `pseudo_label_accuracy_tap<N>`, shallow first.
        """
        deepest = self.classifier(output.pooled).float()
        inner = [head(tap).float() for head, tap in zip(self.tap_heads, output.taps, strict=True)]
        count = len(pseudo_labels)
        with full_precision(deepest):
            label_loss = F.cross_entropy(deepest, pseudo_labels)
            target = deepest.detach() if self.settings.detach_deepest else deepest
            loss = label_loss
            for logits in inner:
                loss = loss + self._inner_loss(logits, target, pseudo_labels)
        metrics = {
            "distillation_loss": (loss.detach() * count, count),
            "pseudo_label_loss": (label_loss.detach() * count, count),
            "pseudo_label_accuracy": (_correct(deepest, pseudo_labels), count),
        }
        for tap, logits in enumerate(inner, start=1):
            metrics[f"pseudo_label_accuracy_tap{tap}"] = (_correct(logits, pseudo_labels), count)
        return ObjectiveOutput(loss, metrics)

    def _inner_loss(self, logits: Tensor, deepest: Tensor, pseudo_labels: Tensor) -> Tensor:
        """Return the mean loss of one inner classifier."""
        own, others = F.log_softmax(logits, dim=1), F.log_softmax(deepest, dim=1)
        divergence = F.kl_div(own, others, reduction="batchmean", log_target=True)
        distance = (2 - 2 * F.cosine_similarity(logits, deepest)).mean()
        return (
            self.settings.tap_weight * F.nll_loss(own, pseudo_labels)
            + self.settings.divergence_weight * divergence
            + self.settings.cosine_weight * distance
        )


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels).sum()
