"""The optimiser of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from speechssl.errors import UserError
from speechssl.training.settings import OptimizerKind, OptimSettings


class LarcSGD(torch.optim.SGD):
    """SGD with layer-wise adaptive rates (LARS, arXiv 1708.03888; the variant of NVIDIA's apex that never clips).

    The rate of each weight is `trust ||w|| / (||g|| + weight_decay ||w||)` times the common one, so that no layer moves
    by more than a share of its size. A weight of norm 0, or without gradient, moves at the common rate.

    Args:
        params: as in `torch.optim.SGD`.
        trust: 0.001 as published.
        settings: `lr`, `momentum`, `weight_decay`.
    """

    def __init__(self, params: Any, trust: float, **settings: Any) -> None:
        super().__init__(params, **settings)
        self._trust = trust

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Scale every gradient, weight decay included, and take SGD's step."""
        decays = [group["weight_decay"] for group in self.param_groups]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._scale(weight, group["weight_decay"])
            group["weight_decay"] = 0.0
        try:
            result: float | None = super().step(closure)
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                group["weight_decay"] = decay
        return result

    def _scale(self, weight: torch.Tensor, decay: float) -> None:
        assert weight.grad is not None
        size, slope = weight.norm(), weight.grad.norm()
        rate = self._trust * size / (slope + decay * size)
        rate = torch.where((size > 0) & (slope > 0), rate, 1.0)
        weight.grad = (weight.grad + decay * weight) * rate


class Muon(torch.optim.AdamW):
    """Muon for the weight matrices of the layers, AdamW for all other weights (Jordan et al. 2024, arXiv 2502.16982).

    The step of a matrix is its Nesterov momentum with all singular values brought near 1, times
    `0.2 sqrt(max(rows, columns))`. That gives it the size of AdamW's step, so one learning rate serves both.

    The numbers are those of `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`. Here matrices of one shape go
    through the iterations together, and the trainer, which takes one optimiser, gets one.

    Args:
        params: all weights.
        matrices: those of them that Muon moves, `(rows, columns)` each.
        momentum: of the matrices.
        dtype: number format of the iterations; bf16 is enough, where the device is fast at it.
        settings: `lr`, `weight_decay` for all weights; `betas`, `eps` for those that AdamW moves.
    """

    def __init__(
        self, params: Any, matrices: Sequence[Tensor], momentum: float, dtype: torch.dtype, **settings: Any
    ) -> None:
        super().__init__(params, **settings)
        self._matrices = defaultdict[torch.Size, list[Tensor]](list)
        for matrix in matrices:
            self._matrices[matrix.shape].append(matrix)
        self._momentum = momentum
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move the matrices, then the rest."""
        for alike in self._matrices.values():
            self._move([matrix for matrix in alike if matrix.grad is not None])
        result: float | None = super().step(closure)
        return result

    def _move(self, matrices: list[Tensor]) -> None:
        """Move matrices of one shape, and drop their gradients, so that AdamW leaves them alone."""
        if not matrices:
            return
        group = self.param_groups[0]
        steps = orthogonalised(torch.stack([self._gradient(matrix) for matrix in matrices]).to(self._dtype))
        size = 0.2 * max(matrices[0].shape) ** 0.5
        for matrix, step in zip(matrices, steps, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(step, alpha=-group["lr"] * size)
            matrix.grad = None

    def _gradient(self, matrix: Tensor) -> Tensor:
        """Return the Nesterov momentum of a matrix."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if not state:
            # AdamW asks every state for its step when a checkpoint is loaded.
            state["step"] = torch.tensor(0.0)
            state["momentum"] = torch.zeros_like(matrix)
        state["momentum"].lerp_(matrix.grad, 1 - self._momentum)
        return matrix.grad.lerp(state["momentum"], self._momentum)


def orthogonalised(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Return matrices with the same singular vectors, and singular values between about 0.7 and 1.2.

    Newton-Schulz iterations of fifth degree, with Muon's coefficients: the steepest that stay in that range.

    Args:
        matrices: `(matrices, rows, columns)`.
        iterations: 5 bring all but the smallest singular values near 1.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT.contiguous() if tall else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def build_optimizer(model: nn.Module, settings: OptimSettings, dtype: torch.dtype) -> torch.optim.Optimizer:
    """Return the optimiser of the parameters that learn.

    Args:
        model: the model, wrapped for several processes or not.
        settings: which optimiser, and its numbers.
        dtype: number format of the forward and backward pass.

    Raises:
        UserError: Muon for a model without transformer layers.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if settings.kind is not OptimizerKind.sgd:
        adam: dict[str, Any] = {
            "lr": settings.lr,
            "betas": (settings.beta1, settings.beta2),
            "eps": settings.eps,
            "weight_decay": settings.weight_decay,
            "fused": True,
        }
        if settings.kind is OptimizerKind.adamw:
            return torch.optim.AdamW(parameters, **adam)
        return Muon(parameters, layer_matrices(model), settings.momentum, dtype, **adam)
    descent: dict[str, Any] = {
        "lr": settings.lr, "momentum": settings.momentum, "weight_decay": settings.weight_decay,
    }  # fmt: skip
    if settings.trust > 0:
        return LarcSGD(parameters, settings.trust, **descent)
    return torch.optim.SGD(parameters, **descent)  # fused, it does not take the parts of FSDP


def layer_matrices(model: nn.Module) -> list[Tensor]:
    """Return the weight matrices inside the model's transformer layers.

    Raises:
        UserError: there is none.
    """
    matrices: list[Tensor] = [
        weight
        for name, weight in model.named_parameters()
        if ".layers." in f".{name}" and weight.ndim == 2 and weight.requires_grad
    ]
    if not matrices:
        raise UserError("optim.kind=muon moves the matrices of transformer layers, and this model has none: use adamw")
    return matrices
