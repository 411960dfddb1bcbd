"""How many utterances the official corpora have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from speechssl.evaluation.superb.corpora.layout import FOLDS

Counts = Mapping[tuple[str, ...], int]

_ENOUGH = 0.99
"""Share of them that makes a corpus the official one: a few recordings may be lost."""

_LIBRISPEECH: Counts = {("train",): 28_539, ("valid",): 2_703, ("test",): 2_620}

OFFICIAL: Mapping[str, Counts] = {
    "pr": _LIBRISPEECH,
    "asr": _LIBRISPEECH,
    # Pieces of noise come on top of the words of train and valid.
    "ks": {("train",): 51_088, ("valid",): 6_798, ("test",): 3_081},
    # Queries and documents: nothing is trained.
    "qbe": {("valid_queries", "valid_documents"): 2_576, ("test_queries", "test_documents"): 2_576},
    "sid": {("train",): 138_361, ("valid",): 6_904, ("test",): 8_251},
    # All speakers but those of the test part; the cleaned list of trials.
    "asv": {("train", "valid"): 148_642, ("test",): 4_708},
    "sd": {("train",): 13_900, ("valid",): 3_000, ("test",): 3_000},
    "ic": {("train",): 23_132, ("valid",): 3_118, ("test",): 3_793},
    "sf": {("train",): 104_672, ("valid",): 2_800, ("test",): 2_800},
    # With the first session as the test part.
    "er": {("train", "valid"): 4_446, ("test",): 1_085},
    "se": {("train", "valid"): 11_572, ("test",): 824},
    "ss": {("train",): 13_900, ("valid",): 1_000, ("test",): 3_000},
}
"""Of each task, the utterances of some of its parts together. Of `st` it depends on the release of Common Voice."""


def lacking(task: str, utterances: Mapping[str, int]) -> Iterator[str]:
    """Yield what is clearly less than in the official corpus of a task.

    Args:
        task: its name.
        utterances: of each part, or of all folds together.
    """
    official = OFFICIAL.get(task, {})
    if FOLDS in utterances:
        official = {(FOLDS,): sum(official.values())}
    for parts, expected in official.items():
        there = sum(utterances.get(part, 0) for part in parts)
        if there < _ENOUGH * expected:
            yield f"{' and '.join(parts)}: {there} of the {expected} utterances of the official corpus"
