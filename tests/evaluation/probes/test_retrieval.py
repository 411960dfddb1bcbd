"""Queries and candidates, and ranks on hidden states whose answer is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from speechssl.evaluation.encoders.baselines import FilterbankEncoder
from speechssl.evaluation.extract import Hidden
from speechssl.evaluation.probes.retrieval import RetrievalTask, retrieval_task
from speechssl.evaluation.probes.settings import EvaluateSettings, RetrievalSettings
from speechssl.evaluation.probes.splits import NotProbed
from speechssl.evaluation.recordings import Recording


def settings(queries: int = 100, candidates: int = 5) -> EvaluateSettings:
    return EvaluateSettings(
        data_dir="d", out_dir="o", retrieval=RetrievalSettings("prompt", "language", queries, candidates)
    )


def voice(speaker: str, language: str, prompts: int) -> list[Recording]:
    return [
        Recording(f"{speaker}/{n}", Path("/"), 16000, "train",
                  {"speaker": speaker, "language": language, "prompt": str(n)})
        for n in range(prompts)
    ]  # fmt: skip


DATA = voice("a", "x", 12) + voice("b", "y", 12)
TEST = voice("t", "x", 8) + voice("u", "y", 20) + voice("v", "z", 5)


def hidden_states(task: RetrievalTask, sentence_layer: int) -> Hidden:
    """Two layers: one holds the sentence at another speed for each voice, the other is noise."""
    torch.manual_seed(0)
    sentences = {str(n): torch.randn(9, 8) for n in range(20)}
    hidden = Hidden()
    for request in task.requests():
        labels = request.recording.labels
        said = sentences[labels["prompt"]].repeat_interleave(1 + ord(labels["speaker"]) % 3, dim=0)
        layers = [torch.randn_like(said), torch.randn_like(said)]
        layers[sentence_layer] = said
        hidden.sequences[request.recording.audio] = torch.stack(layers).half()
    return hidden


def test_candidates_are_other_sentences_by_one_other_voice_of_the_language() -> None:
    task = retrieval_task(DATA, TEST, settings())
    assert task.description["groups"] == {"x": 8, "y": 12}  # y: sentences 12 to 19 are not among the candidates
    for query in task._queries:
        right, *others = query.candidates
        assert right.labels["prompt"] == query.recording.labels["prompt"]
        assert {c.labels["speaker"] for c in query.candidates} == {
            "a" if query.recording.labels["language"] == "x" else "b"
        }
        assert len({c.labels["prompt"] for c in query.candidates}) == 5 and right not in others


def test_queries_and_candidates_do_not_depend_on_file_order() -> None:
    drawn = [
        [(q.recording.name, [c.name for c in q.candidates]) for q in retrieval_task(data, test, settings(3))._queries]
        for data, test in ((DATA, TEST), (DATA[::-1], TEST[::-1]))
    ]
    assert drawn[0] == drawn[1] and len(drawn[0]) == 3


@pytest.mark.parametrize("limit", [1, 2, 4, 30, 100])
def test_queries_are_limited_all_together_and_spread_over_the_voices(limit: int) -> None:
    few = voice("c", "x", 3)
    data = voice("a", "x", 12) + voice("b", "x", 12) + few
    sizes = Counter(q.recording.labels["speaker"] for q in retrieval_task(data, None, settings(limit))._queries)
    assert sum(sizes.values()) == min(limit, len(data))
    # As many of each voice as of the others, as far as it has them.
    assert all(sizes[name] >= min(limit // 3, len(few) if name == "c" else 12) for name in "abc")


def test_hidden_states_that_are_kept_do_not_grow_with_the_voices() -> None:
    for voices in (20, 40):
        data = [recording for number in range(voices) for recording in voice(f"s{number}", "x", 60)]
        task = retrieval_task(data, None, settings(queries=50))
        searched = {c.labels["speaker"] for query in task._queries for c in query.candidates}
        assert len(task._queries) == 50 and 2 < len(searched) <= 9
        kept = {request.recording.audio for request in task.requests()}
        # Each voice that is searched has a pool of 5 candidates, or of the sentences that it is asked for.
        assert len(kept) <= 50 + 50 + 9 * 5


@pytest.mark.parametrize("layer", [0, 1])
def test_the_layer_that_holds_the_sentence_finds_it(layer: int) -> None:
    task = retrieval_task(DATA, TEST, settings())
    encoder = FilterbankEncoder()
    encoder.num_layers = 1
    score = task.score(hidden_states(task, layer), encoder)
    assert score.layers is not None and score.layers[layer] == 1.0 and score.layers[1 - layer] < 0.6
    assert score.best == 1.0 and score.best_layer == layer
    assert score.details["mean_reciprocal_rank_layers"][layer] == 1.0


def test_within_one_folder_the_other_speakers_are_asked() -> None:
    task = retrieval_task(voice("a", "x", 6) + voice("b", "x", 6), None, settings())
    assert task.description["queries"] == 12


def test_unknown_speakers_are_no_voice() -> None:
    """Each may be the one who asks, and together they are several."""
    data = voice("a", "x", 6) + voice("b", "x", 6)
    unknown = [replace(r, labels={"language": "x", "prompt": r.labels["prompt"]}) for r in voice("c", "x", 6)]
    task = retrieval_task(data + unknown, unknown + voice("t", "x", 6), settings())
    assert {query.recording.labels["speaker"] for query in task._queries} == {"t"}
    assert {c.labels["speaker"] for query in task._queries for c in query.candidates} == {"a", "b"}
    with pytest.raises(NotProbed):
        retrieval_task(unknown, None, settings())


def test_no_sentence_of_two_voices_is_a_reason() -> None:
    with pytest.raises(NotProbed, match="no prompt is spoken by two speakers of the same language"):
        retrieval_task(DATA, None, settings())
