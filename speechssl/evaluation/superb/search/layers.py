"""Search in the hidden states of an encoder, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from speechssl.evaluation.superb.search.dtw import match_scores
from speechssl.evaluation.superb.states import States
from speechssl.progress import progress

MIN_FRAMES = 5
"""Shorter queries match all documents equally well, as in s3prl."""
_FRAMES_AT_ONCE = {"cpu": 10_000, "cuda": 40_000}
"""Of queries, and of documents with their padding: their hidden states are in memory. Few would leave a GPU idle."""


@dataclass(frozen=True)
class _Scale:
    """What makes mean 0 and variance 1 of every dimension of one layer."""

    mean: Tensor
    deviation: Tensor

    def directions(self, states: Tensor) -> Tensor:
        """Return the scaled states `(..., dim)`, each of length one."""
        return functional.normalize((states.float() - self.mean) / self.deviation, dim=-1)


def search_layers(
    queries: States, documents: States, layers: Sequence[int], device: torch.device, what: str
) -> npt.NDArray[np.float64]:
    """Return how well each document matches each query, in each of some layers.

    As in s3prl's `downstream/quesst14_dtw` with its defaults: hidden states are scaled over all frames of queries and
    documents, and the scores of a query to mean 0 and variance 1 over the documents. It can take frames out whose
    largest dimension stands for silence, for features that are posteriors; that is off there, and is not here.

    Args:
        queries: their hidden states.
        documents: theirs.
        layers: numbers of hidden states, from 0.
        device: where it is computed.
        what: is searched, for the progress bar.

    Returns:
        `(layers, queries, documents)`.
    """
    scales = _scales((queries, documents), layers, device)
    scores = np.zeros((len(layers), len(queries.frames), len(documents.frames)))
    asked = [row for row, frames in enumerate(queries.frames.tolist()) if frames >= MIN_FRAMES]
    blocks = list(_batches(queries.frames, asked, device))
    with progress((), what, "document", len(documents.frames) * len(blocks)) as bar:
        for block in blocks:
            states, lengths = queries.batch(block)
            # In half precision: the documents are read anew for each block, so that few large ones are best.
            looked_for = [one[:length] for one, length in zip(states.to(device), lengths.tolist(), strict=True)]
            for rows in _batches(documents.frames, range(len(documents.frames)), device):
                for place, found in enumerate(_search(looked_for, documents, rows, layers, scales, device)):
                    scores[place][np.ix_(block, rows)] = found
                bar.update(len(rows))
    spread = scores.std(axis=2, keepdims=True).clip(min=1e-9)
    return np.asarray((scores - scores.mean(axis=2, keepdims=True)) / spread)


def _search(
    queries: Sequence[Tensor],
    documents: States,
    rows: Sequence[int],
    layers: Sequence[int],
    scales: Sequence[_Scale],
    device: torch.device,
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the scores `(queries, documents)` of each layer for some documents; queries are `(frames, layers, dim)`."""
    states, lengths = documents.batch(rows)
    states = states.to(device)
    inside = (torch.arange(states.shape[1]) < lengths[:, None]).to(device)
    for layer, scale in zip(layers, scales, strict=True):
        units = scale.directions(states[:, :, layer])
        scores = [match_scores(scale.directions(query[:, layer]), units, inside) for query in queries]
        yield torch.stack(scores).cpu().numpy()


def _scales(parts: Sequence[States], layers: Sequence[int], device: torch.device) -> list[_Scale]:
    """Return the scale of each layer over all frames."""
    count = sum(int(states.frames.sum()) for states in parts)
    sums: list[Tensor] = [torch.zeros(())] * len(layers)
    squares: list[Tensor] = [torch.zeros(())] * len(layers)
    for states in parts:
        for rows in _batches(states.frames, range(len(states.frames)), device):
            found, _ = states.batch(rows)  # the padding is zero
            for place, layer in enumerate(layers):
                one = found[:, :, layer].to(device, torch.float64)
                sums[place] = sums[place] + one.sum(dim=(0, 1))
                squares[place] = squares[place] + one.square().sum(dim=(0, 1))
    scales = []
    for total, square in zip(sums, squares, strict=True):
        variance = (square - total.square() / count) / max(1, count - 1)
        deviation = variance.clamp(min=0).sqrt().clamp(min=1e-9)
        scales.append(_Scale((total / count).float(), deviation.float()))
    return scales


def _batches(frames: npt.NDArray[np.int64], rows: Sequence[int], device: torch.device) -> Iterator[list[int]]:
    """Yield rows of similar length, as many as fit with their padding."""
    most = _FRAMES_AT_ONCE["cpu" if device.type == "cpu" else "cuda"]
    batch: list[int] = []
    for row in sorted(rows, key=lambda row: int(frames[row])):
        if batch and frames[row] * (len(batch) + 1) > most:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
