"""Whether a GPU computes what the processor does: a small HuBERT, forwards and backwards, on both."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from speechssl.audio import SAMPLE_RATE
from speechssl.models.hubert import HubertEncoder
from speechssl.models.hubert_config import HubertConfig

TOLERATED = 1e-3
"""Largest difference that another order of float32 sums explains, as a share of the largest number."""
_SMALL = HubertConfig(
    conv_layers=[[32, 10, 5], [32, 8, 8], [32, 4, 4], [32, 2, 2]],
    dim=64, ffn_dim=128, num_layers=2, num_heads=4, conv_pos=16, conv_pos_groups=4,
)  # fmt: skip


def largest_difference(device: torch.device) -> float:
    """Return by how much hidden states and gradients on a device differ from the processor's, in float32.

    Two waveforms of random numbers, one of them padded, go through an encoder of random weights.

    Returns:
        The largest difference, as a share of the largest number of its tensor.

    Raises:
        RuntimeError: of torch, where the device cannot be used.
    """
    generator = torch.Generator().manual_seed(0)
    waveforms = torch.randn(2, SAMPLE_RATE, generator=generator)
    lengths = torch.tensor([SAMPLE_RATE, SAMPLE_RATE // 2])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        here = HubertEncoder(_SMALL).eval()
    there = copy.deepcopy(here).to(device)
    expected = _outputs(here, waveforms, lengths)
    found = _outputs(there, waveforms.to(device), lengths.to(device))
    return max(_difference(one, other.cpu()) for one, other in zip(expected, found, strict=True))


def _outputs(encoder: HubertEncoder, waveforms: Tensor, lengths: Tensor) -> list[Tensor]:
    """Return all hidden states, and the gradients of all weights in one: some have none but for rounding."""
    hidden = encoder(waveforms, lengths).hidden_states
    # No mean of squares: layer norm fixes it, and its gradients would be rounding errors.
    torch.stack([states.exp().mean() for states in hidden]).sum().backward()
    gradients = [weight.grad.flatten() for weight in encoder.parameters() if weight.grad is not None]
    return [*(states.detach() for states in hidden), torch.cat(gradients)]


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max())
