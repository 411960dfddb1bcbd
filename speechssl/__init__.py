"""speechssl: self-supervised learning on audio and speech."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from speechssl.models.encoder import Encoder

__version__ = "0.1.0.dev1"
"""Raised with each change of scores (CHANGELOG.md): finished work of another version is not taken for current."""


def load_encoder(path: str | Path) -> Encoder:
    """Load an encoder: see :func:`speechssl.models.load.load_encoder`."""
    # Imported here, so that the command line starts without torch.
    from speechssl.models import load

    return load.load_encoder(path)
