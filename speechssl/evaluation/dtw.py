"""Dynamic time warping between one sequence and many."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def warping_distances(query: Tensor, candidates: Sequence[Tensor]) -> npt.NDArray[np.float32]:
    """Return the mean cosine distance along the best warping path from `query` to each candidate.

    Steps are (1, 1), (1, 0) and (0, 1) frames; a diagonal step counts twice, so that every path from end to end has
    the weight `query frames + candidate frames`, by which the sum is divided (Sakoe and Chiba 1978, symmetric form).

    Args:
        query: `(frames, dim)`, rows of length one.
        candidates: each `(frames, dim)`, rows of length one.

    Returns:
        `(candidates,)` distances in [0, 2].
    """
    ends = np.cumsum([len(candidate) for candidate in candidates])
    cost = (1 - query @ torch.cat(list(candidates)).T).numpy()
    return _distances(cost, np.concatenate([[0], ends]))


@numba.njit(cache=True, parallel=True)
def _distances(cost, bounds):  # type: ignore[no-untyped-def]
    """Warp `cost[:, bounds[i]:bounds[i + 1]]` for each `i`, one row of accumulated costs at a time."""
    rows = cost.shape[0]
    result = np.empty(len(bounds) - 1, dtype=np.float32)
    for index in numba.prange(len(bounds) - 1):
        first, last = bounds[index], bounds[index + 1]
        columns = last - first
        total = np.empty(columns, dtype=np.float64)
        total[0] = 2 * cost[0, first]
        for column in range(1, columns):
            total[column] = total[column - 1] + cost[0, first + column]
        for row in range(1, rows):
            corner = total[0]
            total[0] += cost[row, first]
            for column in range(1, columns):
                here = cost[row, first + column]
                best = min(total[column] + here, total[column - 1] + here, corner + 2 * here)
                corner = total[column]
                total[column] = best
        result[index] = total[columns - 1] / (rows + columns)
    return result
