"""One vector a clip from a frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from speechssl.errors import UserError
from speechssl.evaluation.lape.clips import Clips
from speechssl.evaluation.recordings import Recording
from speechssl.models.encoder import Encoder
from speechssl.progress import progress


@torch.no_grad()
def pooled_features(
    encoder: Encoder,
    recordings: Sequence[Recording],
    clips: Clips,
    batch_seconds: float,
    device: torch.device,
    description: str,
) -> Tensor:
    """Return `encoder.pool` of every clip: `(recordings, dim)`, float32, on the device.

    The encoder is put into evaluation mode. A clip is as long as all others, zeros included, so no vector depends on
    the clips beside it.

    Raises:
        UserError: a clip is too short for a frame of the encoder, or a vector is not finite.
    """
    encoder.eval().to(device)
    require_frames(encoder, clips, description)
    size = max(1, int(batch_seconds / clips.seconds))
    found: list[Tensor] = []
    batches = clips.batches(recordings, size)
    for batch in progress(batches, description, "batch", total=-(-len(recordings) // size)):
        found.append(encoder.pool(encoder(batch.to(device))).float())
    features = torch.cat(found)
    broken = (~features.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if broken:
        raise UserError(
            f"{description}: {len(broken)} clips have a vector that is not finite, the first is "
            f"{recordings[broken[0]].audio}; the encoder is broken"
        )
    return features


def require_frames(encoder: Encoder, clips: Clips, name: str) -> None:
    """Raise a `UserError` unless a clip is long enough for a frame of the encoder with this name."""
    if int(encoder.frame_lengths(torch.tensor([clips.samples]))) < 1:
        raise UserError(f"clips of {clips.seconds:g} s are too short for a frame of {name}; give longer ones")
