"""One vector a recording, by a frozen encoder."""

from __future__ import annotations

from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils.rnn import pad_sequence

from speechssl.audio import SAMPLE_RATE
from speechssl.audio.clip import fit_clip
from speechssl.data.manifest import Manifest
from speechssl.data.waveforms import read_listed_stretch
from speechssl.errors import UserError
from speechssl.models.encoder import Encoder
from speechssl.progress import progress
from speechssl.threads import available_cores, in_order

_BATCH = 16
"""Recordings encoded together. An encoder gives each the same vector as alone."""


@torch.inference_mode()
def embed(
    manifest: Manifest, encoder: Encoder, clip_seconds: float | None, max_seconds: float, device: torch.device
) -> npt.NDArray[np.float32]:
    """Return `(recordings, dim)`: what the encoder pools of each recording, in the manifest's order.

    Args:
        manifest: the recordings.
        encoder: in evaluation mode.
        clip_seconds: length that every recording is cut or padded to, in its middle; `None`: as it is.
        max_seconds: longer recordings are cut to the middle of this length.
        device: where the encoder runs.

    Raises:
        UserError: a recording cannot be read, or the encoder makes NaN or infinity of it.
    """
    encoder = encoder.to(device).eval()
    longest = round(max_seconds * SAMPLE_RATE)
    clip = None if clip_seconds is None else round(clip_seconds * SAMPLE_RATE)
    # Recordings of like length together: less padding.
    order = np.argsort(manifest.samples, kind="stable")

    def read(row: int) -> torch.Tensor:
        return _middle(manifest, row, clip, longest)

    # Decoded while the encoder works, and not more than the next two batches.
    waveforms = (waveform for _, waveform in in_order(order.tolist(), read, available_cores(), ahead=2 * _BATCH))
    vectors: npt.NDArray[np.float32] | None = None
    starts = range(0, len(order), _BATCH)
    for first in progress(starts, "encoding", "batch", total=len(starts)):
        rows = order[first : first + _BATCH]
        batch = list(islice(waveforms, len(rows)))
        lengths = torch.tensor([len(waveform) for waveform in batch])
        output = encoder(pad_sequence(batch, batch_first=True).to(device), lengths.to(device))
        pooled = encoder.pool(output).float().cpu().numpy()
        _check_finite(manifest, rows, pooled)
        if vectors is None:
            vectors = np.empty((len(manifest), pooled.shape[1]), dtype=np.float32)
        vectors[rows] = pooled
    assert vectors is not None
    return vectors


def _middle(manifest: Manifest, row: int, clip: int | None, longest: int) -> torch.Tensor:
    path, whole = manifest.audio_path(row), int(manifest.samples[row])
    wanted = min(whole, longest if clip is None else clip)
    # Of a long recording only what is wanted: several are decoded at once.
    waveform = read_listed_stretch(path, whole, manifest.file, (whole - wanted) // 2, wanted)
    return fit_clip(waveform, wanted if clip is None else clip).clone()


def _check_finite(manifest: Manifest, rows: npt.NDArray[np.int64], pooled: npt.NDArray[np.float32]) -> None:
    """Refuse vectors of recordings, rows of the manifest, that no clustering could place."""
    bad = rows[~np.isfinite(pooled).all(axis=1)]
    if len(bad):
        raise UserError(
            f"{manifest.audio_path(int(bad[0]))}: the encoder makes NaN or infinity of it (too loud a recording, or a "
            f"broken encoder): leave it out of {manifest.file}"
        )
