"""Signs of collapse in the embeddings of held-out clips: RankMe and variance; and accuracy of nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

from speechssl.objectives.heads import full_precision, unit_vectors

_EPSILON = 1e-7


def collapse_signs(embeddings: Tensor) -> dict[str, float]:
    """Return `rankme` and `feature_variance`.

    Args:
        embeddings: `(clips, dim)`, two clips or more; at least a few times as many as dimensions, for RankMe. Rows
            that are not finite are left out.
    """
    embeddings = embeddings.detach()
    embeddings = embeddings[embeddings.isfinite().all(dim=1)]
    matrix = embeddings.double()
    return {"rankme": rank_me(matrix.T @ matrix), "feature_variance": feature_variance(embeddings)}


def rank_me(gram: Tensor) -> float:
    """Return the smooth rank of embeddings `Z` `(samples, dim)` from `gram = Z'Z` `(dim, dim)`, float64.

    `exp(- sum p log p)` with `p = s / sum s + 1e-7` over the singular values `s` (RankMe, arXiv 2210.02885). 1 where
    all are zero.
    """
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    if not singular.any():
        return 1.0
    shares = singular / singular.sum() + _EPSILON
    return float(torch.exp(-(shares * shares.log()).sum()))


def feature_variance(embeddings: Tensor) -> float:
    """Return the variance of `(clips, dim)` embeddings brought to length 1, summed over the dimensions.

    0: all point the same way, which is collapse. 1: they point in all directions. SimSiam (arXiv 2011.10566) watches
    the same thing as a standard deviation near `1 / sqrt(dim)`.
    """
    return float(unit_vectors(embeddings).var(dim=0, correction=0).sum())


def knn_accuracy(embeddings: Tensor, labels: Tensor, neighbours: int = 10) -> float:
    """Return the share of clips whose label most of their nearest other clips have.

    Nearest by cosine; each neighbour has one vote, and of labels with as many votes the lowest is taken, as
    scikit-learn does.

    Args:
        embeddings: `(clips, dim)`, two clips or more.
        labels: `(clips,)` int64, from 0.
        neighbours: number of voters, at most all other clips.
    """
    with full_precision(embeddings):
        unit = unit_vectors(embeddings)
        similar = (unit @ unit.T).fill_diagonal_(-torch.inf)
    nearest = similar.topk(min(neighbours, len(labels) - 1), dim=1).indices
    votes = torch.zeros(len(labels), int(labels.max()) + 1, device=labels.device)
    votes.scatter_add_(1, labels[nearest], torch.ones(nearest.shape, device=labels.device))
    return float((votes.argmax(dim=1) == labels).float().mean())
