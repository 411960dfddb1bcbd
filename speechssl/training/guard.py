"""Updates whose loss or gradient is not finite are skipped, counted and named."""

from __future__ import annotations

from collections.abc import Callable

import torch
from fairseq2.gang import Gangs, all_sum
from fairseq2.optim.fp16_loss_scaler import Float16LossScaler, Float16LossScaleResult
from torch import Tensor
from torch.optim import Optimizer

from speechssl.errors import UserError


class NonFiniteGuard(Float16LossScaler):
    """Takes the place of fairseq2's loss scaler: that skips an overflow of fp16, this any update that is not finite.

    Args:
        gangs: all processes skip together.
        names: returns the utterances of the update in this process, for the message.
        undo: puts back what the forward passes of an update changed.
        log: writes a message.
        max_skipped: the run stops after as many skipped updates.
    """

    def __init__(
        self,
        gangs: Gangs,
        names: Callable[[], list[str]],
        undo: Callable[[], None],
        log: Callable[[str], None],
        max_skipped: int,
    ) -> None:
        self._gangs = gangs
        self._names = names
        self._undo = undo
        self._log = log
        self._max_skipped = max_skipped
        self.skipped = 0
        """Updates skipped so far."""

    def run_optimizer_step(  # type: ignore[override]
        self, optimizer: Optimizer, closure: Callable[[], float] | None = None
    ) -> Float16LossScaleResult:
        """Take the optimiser's step, or skip it and say which batch was at fault.

        Raises:
            UserError: more than `max_skipped` updates were skipped.
        """
        broken = not self._gradients_are_finite(optimizer)
        if int(all_sum(self._gangs.root, int(broken))) == 0:
            optimizer.step()
            return Float16LossScaleResult(old_scale=1.0, new_scale=1.0)
        self._undo()
        self.skipped += 1
        batch = ", ".join(self._names())
        self._log(f"skipped update {self.skipped} with a loss that is not finite; its batch: {batch}")
        if self.skipped > self._max_skipped:
            limit = f"run.max_skipped={self._max_skipped}"
            raise self.error(f"{self.skipped} updates", f"raise {limit} to go on")
        return Float16LossScaleResult(old_scale=1.0, new_scale=1.0, overflowed=True)

    def error(self, which: str, *ways: str) -> UserError:
        """Return what to say of too many skipped updates.

        Args:
            which: the updates.
            ways: what the user can do besides what always helps.
        """
        afresh = "begin again with another out= and a lower optim.lr or run.precision=fp32"
        return UserError(
            f"{which} had a loss that is not finite; the last batch: {', '.join(self._names())}; "
            + ", or ".join(["look at that audio", *ways, afresh])
        )

    @staticmethod
    def _gradients_are_finite(optimizer: Optimizer) -> bool:
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        norms = torch.stack(torch._foreach_norm(gradients)) if gradients else torch.zeros(1)
        return bool(norms.isfinite().all())

    def unscale_grads_(self, optimizer: Optimizer) -> None:
        """Do nothing: nothing was scaled."""

    def backward(self, loss: Tensor) -> None:
        """Compute gradients."""
        loss.backward()

    def state_dict(self) -> dict[str, object]:
        """Return the number of skipped updates."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on counting."""
        self.skipped = int(str(state_dict["skipped"]))

    @property
    def scale_window(self) -> int:
        """No scaling, no window."""
        return 0
