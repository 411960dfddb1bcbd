"""Warping distances against librosa, dtw-python and a case worked by hand."""

from __future__ import annotations

import dtw
import librosa
import numpy as np
import torch

from speechssl.evaluation.probes.dtw import warping_distances


def unit(frames: int, dim: int = 6) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(frames, dim), dim=-1)


def test_equals_librosa_and_dtw_python() -> None:
    torch.manual_seed(0)
    query, candidates = unit(13), [unit(frames) for frames in (1, 9, 13, 31)]
    ends = np.cumsum([len(candidate) for candidate in candidates])
    starts = np.array([0, *ends[:-1]])
    ours = warping_distances(query, torch.cat(candidates), np.stack([starts, ends], axis=1))
    for distance, candidate in zip(ours, candidates, strict=True):
        cost = (1 - query @ candidate.T).double().numpy()
        steps = np.array([[1, 1], [1, 0], [0, 1]])
        total = librosa.sequence.dtw(C=cost, step_sizes_sigma=steps, weights_mul=np.array([2.0, 1, 1]), backtrack=False)
        # Both count the first pair of frames once, we twice, as the weights 2, 1, 1 want it.
        np.testing.assert_allclose(distance * sum(cost.shape) - cost[0, 0], total[-1, -1], rtol=1e-5)
        reference = dtw.dtw(cost, step_pattern="symmetric2").distance
        np.testing.assert_allclose(distance * sum(cost.shape) - cost[0, 0], reference, rtol=1e-5)


def test_a_stretched_copy_is_at_no_distance_and_an_opposite_at_two() -> None:
    query = torch.eye(3)
    stretched = query.repeat_interleave(torch.tensor([1, 3, 2]), dim=0)
    opposite = -torch.eye(3)[:1]
    bounds = np.array([[0, 6], [6, 7]])
    distances = warping_distances(query[:1], torch.cat([stretched, opposite]), bounds)
    np.testing.assert_allclose(distances[1], 2.0)
    np.testing.assert_allclose(warping_distances(query, stretched, bounds[:1]), [0.0], atol=1e-6)
