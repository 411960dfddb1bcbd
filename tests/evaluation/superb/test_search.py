"""Search by DTW, against dtw-python, librosa, and s3prl's own search from end to end."""

from __future__ import annotations

import weakref
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import dtw
import librosa
import numpy as np
import pytest
import torch
import torchaudio

from speechssl.evaluation.superb.search import layers as layers_module
from speechssl.evaluation.superb.search.dtw import subsequence_costs
from speechssl.evaluation.superb.search.layers import search_layers
from speechssl.s3prl_patches import guarded_s3prl

with guarded_s3prl():
    # s3prl's reader of QUESST 2014 imports it, and is not used here.
    torchaudio.sox_effects.apply_effects_file = None
    from s3prl.downstream.quesst14_dtw import expert

CPU = torch.device("cpu")
STEPS = np.array([[1, 0], [1, 1], [1, 2]])


class FakeStates:
    """States of random numbers, `(frames, layers, dim)` each."""

    def __init__(self, lengths: list[int], seed: int) -> None:
        random = np.random.default_rng(seed)
        self.frames = np.array(lengths)
        self.states = [torch.from_numpy(random.normal(3, [[1], [2]], (length, 2, 4))).half() for length in lengths]

    def batch(self, rows):
        chosen = [self.states[row] for row in rows]
        return torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True), torch.tensor([len(one) for one in chosen])


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_costs_are_those_of_dtw_python_and_of_librosa(frames: int):
    lengths = [1, 2, 5, 30]
    random = np.random.default_rng(frames)
    matrices = [random.random((frames, length)) for length in lengths]
    padded = torch.full((frames, len(lengths), max(lengths)), torch.inf, dtype=torch.float64)
    for place, matrix in enumerate(matrices):
        padded[:, place, : matrix.shape[1]] = torch.from_numpy(matrix)
    ours = subsequence_costs(padded).tolist()
    given = {"step_pattern": "asymmetric", "open_begin": True, "open_end": True}
    assert ours == pytest.approx([dtw.dtw(matrix, **given).distance for matrix in matrices])
    theirs = [
        librosa.sequence.dtw(C=matrix, subseq=True, step_sizes_sigma=STEPS, backtrack=False) for matrix in matrices
    ]
    assert ours == pytest.approx([costs[-1].min() for costs in theirs])


def s3prl_scores(queries: FakeStates, documents: FakeStates, layer: int, folder: Path) -> np.ndarray:
    """What s3prl writes for the scorer of QUESST 2014, with its default settings."""
    method = {"dist_method": "cosine_exp", "minmax_norm": True, "step_pattern": "asymmetric", "subsequence": True}
    given = {"max_workers": 1, "feature_normalization": True, "silence_frame": None, "datarc": {}, "dtwrc": method}
    task = expert.DownstreamExpert(4, given, str(folder))
    task.test_dataset = SimpleNamespace(n_queries=len(queries.frames))
    features = [one[:, layer].float() for states in (queries, documents) for one in states.states]
    task.log_records("dev", {"features": features, "audio_names": [str(row) for row in range(len(features))]})
    found = np.full((len(queries.frames), len(documents.frames)), np.nan)
    for query in xml.etree.ElementTree.parse(folder / "benchmark.stdlist.xml").getroot():
        for term in query:
            found[int(query.get("termid")), int(term.get("file")) - len(queries.frames)] = float(term.get("score"))
    return found


@pytest.mark.parametrize("at_once", [10_000, 40])
def test_scores_are_those_of_s3prl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(expert, "ProcessPoolExecutor", ThreadPoolExecutor)
    monkeypatch.setitem(layers_module._FRAMES_AT_ONCE, "cpu", at_once)
    queries, documents = FakeStates([7, 12, 4, 20], 1), FakeStates([30, 9, 41, 3, 18], 2)
    ours = search_layers(queries, documents, [1, 0], CPU, "search")
    assert not ours[:, 2].any(), "a query of four frames is no more in one document than in another"
    for layer, found in zip((1, 0), ours, strict=True):
        theirs = s3prl_scores(queries, documents, layer, tmp_path)
        np.testing.assert_allclose(found, theirs, atol=2e-3)
        assert theirs[0].std() > 0.9


def test_queries_are_in_memory_in_single_precision_one_layer_at_a_time(monkeypatch: pytest.MonkeyPatch):
    directions, alive, most = layers_module._Scale.directions, weakref.WeakSet(), []

    def counted(self, states):
        found = directions(self, states)
        alive.add(found)
        most.append(sum(len(one) for one in alive if one.dim() == 2))
        return found

    monkeypatch.setattr(layers_module._Scale, "directions", counted)
    search_layers(FakeStates([7, 12, 20], 1), FakeStates([30, 9], 2), [0, 1], CPU, "search")
    assert max(most) <= 7 + 12 + 20
