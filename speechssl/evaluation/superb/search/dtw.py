"""How well a query matches a stretch of a document: subsequence DTW, many documents at once.

The method is that of s3prl's `downstream/quesst14_dtw` with its defaults, which calls dtw-python for each pair.
"""

from __future__ import annotations

import torch
from torch import Tensor


def match_scores(query: Tensor, documents: Tensor, inside: Tensor) -> Tensor:
    """Return how well the best stretch of each document matches a query: 0 at best, -1 at worst.

    The distance of two frames is `exp(1 - cosine) - 1`, brought to [0, 1] over the document for each frame of the
    query. The score is the mean distance on the best path, negative.

    Args:
        query: `(frames, dim)`, rows of length one.
        documents: `(documents, longest, dim)`, rows of length one.
        inside: `(documents, longest)`, whether a frame is one of the document's and not of its padding.

    Returns:
        `(documents,)`.
    """
    cosines = query @ documents.flatten(0, 1).T
    distances = torch.expm1(1 - cosines).view(len(query), *inside.shape)
    lowest = distances.masked_fill(~inside, torch.inf).amin(dim=2, keepdim=True)
    highest = distances.masked_fill(~inside, -torch.inf).amax(dim=2, keepdim=True)
    distances = (distances - lowest) / (highest - lowest).clamp(min=1e-9)
    return -subsequence_costs(distances.masked_fill_(~inside, torch.inf)) / len(query)


def subsequence_costs(distances: Tensor) -> Tensor:
    """Return the cost of the best path through each matrix of distances.

    A path visits every row once. From row to row it stays in its column or moves on by one or two, and it begins and
    ends in any column: dtw-python's step pattern `asymmetric` with open begin and end (Giorgino 2009,
    doi 10.18637/jss.v031.i07).

    Args:
        distances: `(query frames, documents, document frames)`; infinite behind the end of a document.

    Returns:
        `(documents,)`.
    """
    costs = distances[0]
    for row in distances[1:]:
        best = costs.clone()
        for step in (1, 2):
            torch.minimum(best[:, step:], costs[:, :-step], out=best[:, step:])
        costs = best.add_(row)
    return costs.amin(dim=1)
