"""Scores that papers publish for SUPERB, and the score that sums all of its tasks up."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from speechssl.evaluation.superb.units import UNITS

Metric = tuple[str, str]
"""Task and score."""

_COLUMNS: tuple[Metric, ...] = (
    ("pr", "per"),
    ("asr", "wer"),
    ("ks", "accuracy"),
    ("qbe", "mtwv"),
    ("sid", "accuracy"),
    ("asv", "eer"),
    ("sd", "der"),
    ("ic", "accuracy"),
    ("sf", "slot_type_f1"),
    ("sf", "slot_value_cer"),
    ("er", "accuracy"),
    ("se", "pesq"),
    ("se", "stoi"),
    ("ss", "si_sdri"),
)
_ROWS = {
    "FBANK": "82.01 23.18 8.63 0.58 0 9.56 10.05 9.10 69.64 52.94 35.39 - - -",
    "wav2vec 2.0 Base": "- 6.43 - - - - 6.08 - 88.30 24.77 63.43 - - -",
    "HuBERT Base": "5.41 6.42 96.30 7.36 81.42 5.11 5.88 98.34 88.53 25.20 64.92 2.58 93.9 9.36",
    "WavLM Base": "4.84 6.21 96.79 8.70 84.51 4.69 4.55 98.63 89.38 22.86 65.94 2.58 94.0 10.37",
    "HuBERT Large": "3.53 3.62 95.29 3.53 90.33 5.98 5.75 98.76 89.81 21.76 67.62 2.64 94.2 10.45",
    "WavLM Large": "- - - - - - 3.24 - - - 70.62 2.70 94.5 11.19",
}
"""As our tables show them, from arXiv 2105.01051 and 2110.13900; ASR without a language model; `-`: not known here. SE,
SS and the rows of wav2vec 2.0 and WavLM Large are as public repositories quote such papers, which were not at hand."""
_BASELINE = "FBANK"
_LOWER_IS_BETTER = ("per", "wer", "eer", "der", "slot_value_cer")


def _scores(row: str) -> dict[Metric, float]:
    known = {column: float(cell) for column, cell in zip(_COLUMNS, row.split(), strict=True) if cell != "-"}
    return {column: value if column[1] in UNITS else value / 100 for column, value in known.items()}


PUBLISHED: Mapping[str, Mapping[Metric, float]] = {name: _scores(row) for name, row in _ROWS.items()}
"""Encoder -> its scores, in the units of our own."""
SUMMED = tuple(PUBLISHED[_BASELINE])
"""What the SUPERB score is made of: the ten tasks of arXiv 2105.01051."""


def superb_score(scores: Mapping[Metric, float]) -> float:
    """Return the SUPERB score of an encoder: the mean over the ten tasks.

    Each task counts in thousandths of the way from FBANK to the best of `PUBLISHED`; of two scores of a task their mean
    counts. So FBANK has 0, and what is as good as the best everywhere has 1000. SUPERB's own leaderboard knows better
    encoders than these, so its scores are lower.

    Args:
        scores: all of `SUMMED`.
    """
    tasks: dict[str, list[float]] = {}
    for metric in SUMMED:
        zero = PUBLISHED[_BASELINE][metric]
        known = [row[metric] for row in PUBLISHED.values() if metric in row]
        best = min(known) if metric[1] in _LOWER_IS_BETTER else max(known)
        tasks.setdefault(metric[0], []).append(1000 * (scores[metric] - zero) / (best - zero))
    return statistics.fmean(statistics.fmean(of_task) for of_task in tasks.values())
