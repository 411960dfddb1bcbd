"""Same-sentence retrieval across voices: is the nearest candidate the one with the query's words?"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechssl.evaluation.extract import Hidden, Request
from speechssl.evaluation.probes.settings import EvaluateSettings
from speechssl.evaluation.probes.splits import NotProbed
from speechssl.evaluation.probes.tasks import Score, commonest
from speechssl.evaluation.recordings import Recording
from speechssl.evaluation.sampling import generator_for, sample
from speechssl.models.encoder import Encoder
from speechssl.progress import progress

_VOICES = 8
"""Voices that a query may be put to, the same for all that say the same: each adds its candidates to the memory."""

Voice = tuple[str, str]
"""What candidates agree with the query in (a language), and a speaker."""


@dataclass
class Query:
    """A recording and what it is compared with."""

    recording: Recording
    candidates: list[Recording]
    """The first is the right one."""


class RetrievalTask:
    """Rank candidates by dynamic time warping over hidden states.

    Each dimension is brought to zero mean and unit variance over all frames that take part (a layer's common offset
    would make all frames alike), then frames are compared by cosine distance.
    """

    name = "retrieval"

    def __init__(self, queries: list[Query], settings: EvaluateSettings) -> None:
        self._queries = queries
        self._seed = settings.seed
        self.description: dict[str, Any] = {
            "metric": "top-1",
            "better": "more",
            "kind": "retrieval",
            "queries": len(queries),
            "groups": _group_sizes(queries, settings.retrieval.within),
            "candidates": sum(len(query.candidates) for query in queries) / len(queries),
            "chance": float(np.mean([1 / len(query.candidates) for query in queries])),
            "best_layer_chosen": "on the other half of the queries",
        }

    def requests(self) -> Iterable[Request]:
        """All hidden states of queries and candidates."""
        for query in self._queries:
            for recording in (query.recording, *query.candidates):
                yield Request(recording, sequence=True)

    def score(self, hidden: Hidden, encoder: Encoder) -> Score:
        """Return top-1 accuracy; the mean reciprocal rank is in the details."""
        layers = range(encoder.num_layers + 1)
        ranks = np.array([self._ranks(hidden, layer) for layer in progress(layers, "retrieval", "layer")])
        top = (ranks == 1).astype(float)
        # No probe is trained here, so the layer is chosen on one half of the queries and tested on the other, twice.
        halves = np.arange(len(self._queries)) % 2
        chosen = [int(top[:, halves != half].mean(axis=1).argmax()) for half in (0, 1)]
        picked = np.where(halves == 0, top[chosen[0]], top[chosen[1]])
        return Score(
            layers=top.mean(axis=1).tolist(),
            best=float(picked.mean()),
            best_layer=commonest(chosen),
            details={"mean_reciprocal_rank_layers": (1 / ranks).mean(axis=1).tolist(), "chosen_layers": chosen},
        )

    def _ranks(self, hidden: Hidden, layer: int) -> list[float]:
        """Return the rank of the right candidate for each query; candidates at the same distance share a rank."""
        from speechssl.evaluation.probes.dtw import warping_distances  # brings numba, slow to import

        used = sorted({r.audio for query in self._queries for r in (query.recording, *query.candidates)})
        sequences = [hidden.sequences[audio][layer].float() for audio in used]
        ends = np.cumsum([len(sequence) for sequence in sequences])
        bounds = dict(zip(used, zip([0, *ends[:-1]], ends, strict=True), strict=True))
        frames = _normalise(torch.cat(sequences))
        ranks = []
        for query in self._queries:
            first, last = bounds[query.recording.audio]
            places = np.array([bounds[recording.audio] for recording in query.candidates])
            low, high = places.min(), places.max()
            distances = warping_distances(frames[first:last], frames[low:high], places - low)
            nearer = int((distances[1:] < distances[0]).sum())
            ties = int((distances[1:] == distances[0]).sum())
            ranks.append(1 + nearer + ties / 2)
        return ranks


def _normalise(frames: Tensor) -> Tensor:
    """Standardise each dimension over all frames, then bring each frame to length one."""
    scale = frames.std(dim=0, correction=0).clamp(min=1e-5)
    return torch.nn.functional.normalize((frames - frames.mean(dim=0)) / scale, dim=-1)


def retrieval_task(data: list[Recording], test: list[Recording] | None, settings: EvaluateSettings) -> RetrievalTask:
    """Draw queries and candidates.

    Queries come from `test`, or from `data` where there is none; candidates from `data`. The right candidate is the
    same sentence by another speaker, the others are other sentences by that speaker, so that a voice gives no hint.
    All queries that look among one voice's recordings share a pool of its sentences. The hidden states of all are in
    memory at once, so both the queries and the voices that they are put to are limited.

    Raises:
        NotProbed: no sentence is spoken by two known voices.
    """
    options, seed = settings.retrieval, settings.seed
    voices = _voices(data, settings)
    pairs = []
    for recording in _spread(data if test is None else test, voices, settings):
        # The first voices in one order for all: their own queries go to the next one.
        others = sample(_others(recording, voices, settings), _VOICES, seed, "\0".join)
        chosen = generator_for(seed, recording.name, "voice").integers(len(others))
        pairs.append((recording, sorted(others)[int(chosen)]))
    if not pairs:
        raise NotProbed(f"no {options.column} is spoken by two speakers of the same {options.within}")
    pools = _pools(pairs, voices, settings)
    queries = []
    for recording, voice in pairs:
        sentence = recording.labels[options.column]
        wrong = [other for other in pools[voice] if other != sentence]
        order = generator_for(seed, recording.name, "candidates").permutation(len(wrong))[: options.candidates - 1]
        drawn = [sentence, *(wrong[number] for number in order)]
        queries.append(Query(recording, [voices[voice][name] for name in drawn]))
    return RetrievalTask(queries, settings)


def _spread(
    recordings: list[Recording], voices: dict[Voice, dict[str, Recording]], settings: EvaluateSettings
) -> list[Recording]:
    """Return the queries, by voice: one of each in turn, as long as it has some."""
    drawn: dict[Voice, list[Recording]] = defaultdict(list)
    for recording in sample(recordings, len(recordings), settings.seed, lambda r: r.name):
        if _says(recording, settings) and _others(recording, voices, settings):
            drawn[_voice(recording, settings)].append(recording)
    order = sample(drawn, len(drawn), settings.seed, "\0".join)
    rounds = itertools.zip_longest(*(drawn[voice] for voice in order))
    in_turn = [recording for turn in rounds for recording in turn if recording is not None]
    return sorted(in_turn[: settings.retrieval.queries], key=lambda r: _voice(r, settings))


def _voices(data: list[Recording], settings: EvaluateSettings) -> dict[Voice, dict[str, Recording]]:
    """Return for each voice its recordings by sentence; of several with the same words the first counts."""
    voices: dict[Voice, dict[str, Recording]] = defaultdict(dict)
    for recording in data:
        if _says(recording, settings):
            voices[_voice(recording, settings)].setdefault(recording.labels[settings.retrieval.column], recording)
    return voices


def _others(recording: Recording, voices: dict[Voice, dict[str, Recording]], settings: EvaluateSettings) -> list[Voice]:
    """Return the other voices that say the sentence of a recording, and another one."""
    within, speaker = _voice(recording, settings)
    sentence = recording.labels[settings.retrieval.column]
    found = [v for v in sorted(voices) if v[0] == within and v[1] != speaker and sentence in voices[v]]
    return [voice for voice in found if len(voices[voice]) > 1]


def _pools(
    pairs: list[tuple[Recording, Voice]], voices: dict[Voice, dict[str, Recording]], settings: EvaluateSettings
) -> dict[Voice, list[str]]:
    """Return for each voice the sentences that candidates are drawn from: those asked for, and enough of the others."""
    pools: dict[Voice, list[str]] = {}
    for voice in {voice for _, voice in pairs}:
        wanted = {recording.labels[settings.retrieval.column] for recording, other in pairs if other == voice}
        others = sample(set(voices[voice]) - wanted, settings.retrieval.candidates, settings.seed, str)
        more = max(0, settings.retrieval.candidates - len(wanted))
        pools[voice] = sorted(wanted) + others[:more]
    return pools


def _says(recording: Recording, settings: EvaluateSettings) -> bool:
    """Return whether both the sentence and its speaker are known: an unknown one may be any of the others."""
    return {settings.retrieval.column, settings.probe.speaker_column} <= recording.labels.keys()


def _voice(recording: Recording, settings: EvaluateSettings) -> Voice:
    within = recording.labels.get(settings.retrieval.within, "")
    return within, recording.labels[settings.probe.speaker_column]


def _group_sizes(queries: list[Query], within: str) -> dict[str, int]:
    sizes: dict[str, int] = defaultdict(int)
    for query in queries:
        sizes[query.recording.labels.get(within, "all")] += 1
    return dict(sorted(sizes.items()))
