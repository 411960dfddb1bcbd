"""What every objective over views of a clip takes and returns."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from speechssl.errors import UserError
from speechssl.models.backbone import Backbone
from speechssl.objectives.objective import ObjectiveOutput


@dataclass
class ViewBatch:
    """A batch of clips, each seen in two ways or more."""

    views: list[Tensor]
    """Two log-mel spectrograms or more, `(batch, mels, frames)`, normalised and augmented; the first dimension is the
    same clips in the same order in each."""
    clips: Tensor
    """`(batch,)` int64: the clips' places in the manifest."""
    epoch: int
    """Epoch that the batch is of, from 0."""

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """The views, for an objective that compares two.

        Raises:
            UserError: there are more or fewer.
        """
        if len(self.views) != 2:
            raise UserError(f"this objective compares 2 views of a clip and was given {len(self.views)}")
        return self.views[0], self.views[1]


class ViewObjective(nn.Module):
    """A loss over views, with its own parameters: heads, momentum copies, queues, memory banks.

    All state is in parameters and buffers, so that checkpoints hold it.
    """

    metrics: Sequence[str]
    """Names of the metrics that it returns."""

    def check_epochs(self, epochs: float) -> None:
        """Refuse a run of so many epochs if it would be over before the objective has begun with all that is set.

        Raises:
            UserError: it would.
        """

    @abstractmethod
    def forward(self, backbone: Backbone, batch: ViewBatch) -> ObjectiveOutput:
        """Return the loss, a mean over the batch, and metrics as (sum, count).

        In training mode the state of the objective (momentum copy, queue, memory bank) moves on by one update.
        """


def refuse_unless_positive(objective: str, **values: float) -> None:
    """Refuse settings that must be above 0.

    Args:
        objective: name of the objective, for the message.
        values: settings by name.

    Raises:
        UserError: one of them is 0 or less.
    """
    for name, value in values.items():
        if value <= 0:
            raise UserError(f"objective.{objective}.{name}={value} must be above 0")


def refuse_momentum(objective: str, momentum: float) -> None:
    """Refuse a momentum outside [0, 1] with a `UserError`."""
    if not 0 <= momentum <= 1:
        raise UserError(f"objective.{objective}.momentum={momentum} must be in [0, 1]")
