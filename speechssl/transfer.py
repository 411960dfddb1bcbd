"""Tensors on their way to a device."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device. A GPU copies it while the processor goes on, where else both would wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        # By the main thread: a thread's current device is the first GPU, and pinning there would take memory of it.
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
