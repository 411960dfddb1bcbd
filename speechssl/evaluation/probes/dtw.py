"""Dynamic time warping between one sequence and many."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def warping_distances(query: Tensor, stacked: Tensor, bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return the mean cosine distance along the best warping path from `query` to each candidate.

    Steps are (1, 1), (1, 0) and (0, 1) frames; a diagonal step counts twice, so that every path from end to end has
    the weight `query frames + candidate frames`, by which the sum is divided (Sakoe and Chiba 1978, symmetric form).

    Args:
        query: `(frames, dim)`, rows of length one.
        stacked: `(frames, dim)`, the frames of many sequences one after the other, rows of length one.
        bounds: `(candidates, 2)` first frame of each candidate in `stacked`, and the one after its last.

    Returns:
        `(candidates,)` distances in [0, 2].
    """
    return _distances(torch.mm(query, stacked.T).numpy(), bounds)


@numba.njit(cache=True)
def _distances(similarity, bounds):  # type: ignore[no-untyped-def]
    """Warp each block of columns, one row of accumulated costs at a time."""
    rows = similarity.shape[0]
    result = np.empty(len(bounds), dtype=np.float32)
    for index in range(len(bounds)):
        first, last = bounds[index]
        columns = last - first
        total = np.empty(columns, dtype=np.float32)
        total[0] = 2 * (1 - similarity[0, first])
        for column in range(1, columns):
            total[column] = total[column - 1] + 1 - similarity[0, first + column]
        for row in range(1, rows):
            corner = total[0]
            total[0] += 1 - similarity[row, first]
            for column in range(1, columns):
                here = 1 - similarity[row, first + column]
                best = min(min(total[column], total[column - 1]) + here, corner + 2 * here)
                corner = total[column]
                total[column] = best
        result[index] = total[columns - 1] / (rows + columns)
    return result
