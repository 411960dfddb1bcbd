"""What tells one set of weights from another."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_checksum(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers by name, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
