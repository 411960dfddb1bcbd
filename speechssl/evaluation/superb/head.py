"""A head of SUPERB: the softmax-weighted sum of all hidden states, and what s3prl puts behind it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_AT_ONCE = 1 << 22
"""Numbers of hidden states that are in float32 at once (16 MB), unless one utterance has more."""


class WeightedHead(nn.Module):
    """The weighted sum of the hidden states in front of a task's head.

    All hidden states have the same weight at first, as in s3prl's `Featurizer`. Of one nothing is learnt.

    Args:
        layers: number of hidden states.
        head: takes `(batch, frames, dim)` and `(batch,)` lengths.
    """

    def __init__(self, layers: int, head: nn.Module) -> None:
        super().__init__()
        self.layer_logits = nn.Parameter(torch.zeros(layers), requires_grad=layers > 1)
        self.head = head

    def forward(self, states: Tensor, lengths: Tensor) -> Any:
        """Return what the head makes of `(batch, frames, layers, dim)` states, float16 or float32."""
        return self.head(weighted_sum(states, self.layer_weights()), lengths)

    def layer_weights(self) -> Tensor:
        """Return `(layers,)` weights; they sum to one."""
        return functional.softmax(self.layer_logits, dim=0)


def weighted_sum(states: Tensor, weights: Tensor) -> Tensor:
    """Return `(batch, frames, dim)` float32 of states `(batch, frames, layers, dim)` that need no gradient.

    The states stay in half precision until they are summed, some utterances after the other. torch's own product
    would hold a copy of them all in float32 for the gradient of the weights.
    """
    summed: Tensor = _WeightedSum.apply(states, weights)
    return summed


class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(states)
        return torch.cat([torch.matmul(weights, part.float()) for part in states.split(_utterances_at_once(states))])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (states,) = ctx.saved_tensors
        parts = (each.split(_utterances_at_once(states)) for each in (states, gradient))
        products = [torch.einsum("bfld,bfd->l", part.float(), of_part) for part, of_part in zip(*parts, strict=True)]
        return None, torch.stack(products).sum(dim=0)


def _utterances_at_once(states: Tensor) -> int:
    return max(1, _AT_ONCE // max(1, states[0].numel()))
