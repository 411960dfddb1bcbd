"""RankMe against its formula on the embeddings themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from speechssl.evaluation.rankme import rank_me


def test_equals_the_formula_on_singular_values() -> None:
    embeddings = np.random.default_rng(0).standard_normal((500, 20)) * np.linspace(0.1, 3, 20)
    singular = np.linalg.svd(embeddings, compute_uv=False)
    shares = singular / singular.sum() + 1e-7
    expected = np.exp(-(shares * np.log(shares)).sum())
    gram = torch.from_numpy(embeddings.T @ embeddings)
    assert rank_me(gram) == pytest.approx(expected, rel=1e-9)


def test_counts_dimensions_that_are_filled_alike() -> None:
    assert rank_me(torch.eye(7, dtype=torch.float64)) == pytest.approx(7, rel=1e-4)
    flat = torch.zeros(7, 7, dtype=torch.float64)
    flat[0, 0] = 5
    assert rank_me(flat) == pytest.approx(1, rel=1e-4)
