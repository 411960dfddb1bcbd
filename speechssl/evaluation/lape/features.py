"""One vector a clip from a frozen encoder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from speechssl.errors import UserError
from speechssl.evaluation.encoders.contestants import Contestant
from speechssl.evaluation.lape.clips import Clips
from speechssl.evaluation.recordings import Recording
from speechssl.evaluation.vectors import VectorFile
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
    kept: VectorFile,
) -> Tensor:
    """Return `encoder.pool` of every clip: `(recordings, dim)`, float32, on the device.

    The encoder is put into evaluation mode. A clip is as long as all others, zeros included, so no vector depends on
    the clips beside it.

    Args:
        encoder: the frozen encoder.
        recordings: what it encodes.
        clips: reads them.
        batch_seconds: seconds of audio in a batch.
        device: where the encoder runs.
        description: name of the encoder, for messages.
        kept: vectors of an interrupted command on the same clips, which are gone on with.

    Raises:
        UserError: a vector is not finite.
    """
    encoder.eval().to(device)
    size = max(1, int(batch_seconds / clips.seconds))
    sizes = [min(size, len(recordings) - start) for start in range(0, len(recordings), size)]
    done, vectors = kept.read(sizes)
    found = [vectors.to(device)]
    left = recordings[len(vectors) :]
    for batch in progress(clips.batches(left, size), description, "batch", total=len(sizes) - done):
        found.append(encoder.pool(encoder(batch.to(device))).float())
        kept.append(found[-1])
    features = torch.cat(found)
    broken = (~features.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if broken:
        kept.remove()
        raise UserError(
            f"{description}: {len(broken)} clips have a vector that is not finite, the first is "
            f"{recordings[broken[0]].audio}; the encoder is broken"
        )
    return features


def require_frames(rivals: Iterable[Contestant], clips: Clips) -> None:
    """Raise a `UserError` unless a clip is long enough for a frame of every encoder: the first may take hours."""
    for rival in rivals:
        # A random one has the frames of the trained one.
        if rival.like is None and int(rival.build().frame_lengths(torch.tensor([clips.samples]))) < 1:
            raise UserError(
                f"clips of {clips.seconds:g} s are too short for a frame of {rival.source}; give a larger "
                "task.clip_seconds, or take it out"
            )
