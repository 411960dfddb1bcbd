"""HEAR's scores, by scikit-learn and sed_eval. Names and definitions are those of hear-eval-kit 2021.1.3."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from speechssl.errors import UserError
from speechssl.evaluation.hear.events import Event

Matrix = npt.NDArray[np.float32]
"""`(examples, classes)`."""


def top1_accuracy(predictions: Matrix, targets: Matrix) -> float:
    """Return the share of examples whose most probable class is theirs; of several classes, the first counts."""
    return float(np.mean(predictions.argmax(axis=1) == targets.argmax(axis=1)))


def chroma_accuracy(predictions: Matrix, targets: Matrix) -> float:
    """Return the share of examples whose most probable pitch is theirs, whatever the octave (12 classes)."""
    return float(np.mean(predictions.argmax(axis=1) % 12 == targets.argmax(axis=1) % 12))


def mean_average_precision(predictions: Matrix, targets: Matrix) -> float:
    """Return the mean of the average precisions of the classes; a class that no example has counts as 0."""
    from sklearn.metrics import average_precision_score  # slow to import

    return float(average_precision_score(targets, predictions, average="macro"))


def roc_area(predictions: Matrix, targets: Matrix) -> float:
    """Return the mean of the areas under the classes' ROC curves; not a number where a class has no curve."""
    return float(np.mean(_roc_areas(predictions, targets)))


def d_prime(predictions: Matrix, targets: Matrix) -> float:
    """Return the mean of the classes' sqrt(2) Phi^-1(area under the ROC curve)."""
    from scipy.special import ndtri  # slow to import

    return float(np.mean(np.sqrt(2.0) * ndtri(_roc_areas(predictions, targets))))


def _roc_areas(predictions: Matrix, targets: Matrix) -> npt.NDArray[np.float64]:
    from sklearn.metrics import roc_auc_score  # slow to import

    return np.asarray(roc_auc_score(targets, predictions, average=None))


SCENE_SCORES: dict[str, Callable[[Matrix, Matrix], float]] = {
    "top1_acc": top1_accuracy,
    "pitch_acc": top1_accuracy,
    "chroma_acc": chroma_accuracy,
    "mAP": mean_average_precision,
    "d_prime": d_prime,
    "aucroc": roc_area,
}
"""Of whole recordings: from probabilities and targets (0 or 1)."""

EVENT_SCORES: dict[str, dict[str, Any]] = {
    "event_onset_200ms_fms": {"evaluate_offset": False, "t_collar": 0.2},
    "event_onset_50ms_fms": {"evaluate_offset": False, "t_collar": 0.05},
    "event_onset_offset_50ms_20perc_fms": {"t_collar": 0.05, "percentage_of_length": 0.2},
    "segment_1s_er": {"time_resolution": 1.0},
}
"""Of events: arguments of sed_eval's `EventBasedMetrics` (F-measures), or of `SegmentBasedMetrics` (the error rate)."""

ERROR_RATES = ("segment_1s_er",)
"""Scores that are better when they are smaller."""


def scene_score(name: str, predictions: Matrix, targets: Matrix) -> float | None:
    """Return one score of whole recordings.

    `None`, where it is no finite number: of `aucroc` and `d_prime`, when a class has no example (or nothing else), and
    of `d_prime`, when a class is told apart without a mistake.
    """
    from sklearn.exceptions import UndefinedMetricWarning  # slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        warnings.filterwarnings("ignore", "No positive class found")
        value = SCENE_SCORES[name](predictions, targets)
    return value if math.isfinite(value) else None


def event_scores(
    names: Iterable[str], found: Sequence[Sequence[Event]], truth: Sequence[Sequence[Event]], classes: int
) -> dict[str, float | None]:
    """Return scores of events, counted over all recordings and classes together.

    Args:
        names: of `EVENT_SCORES`.
        found: events that a network finds in each recording.
        truth: those that are there.
        classes: number of classes.

    Returns:
        Each score, and for an F-measure also `<name>_precision` and `<name>_recall`. An F-measure is 0 where nothing is
        found, and `None` where nothing is there to be found.
    """
    scores: dict[str, float] = {}
    for name in names:
        scores |= _measured(name, found, truth, classes)
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}


def _measured(
    name: str, found: Sequence[Sequence[Event]], truth: Sequence[Sequence[Event]], classes: int
) -> dict[str, float]:
    sound_event = _sed_eval()
    # sed_eval strips names and takes "none" for no name: classes go by their number.
    names = [str(number) for number in range(classes)]
    if name in ERROR_RATES:
        metrics = sound_event.SegmentBasedMetrics(names, **EVENT_SCORES[name])
    else:
        metrics = sound_event.EventBasedMetrics(names, empty_system_output_handling="zero_score", **EVENT_SCORES[name])
    for there, claimed in zip(truth, found, strict=True):
        metrics.evaluate(_listed(there), _listed(claimed))
    if name in ERROR_RATES:
        return {name: float(metrics.overall_error_rate()["error_rate"])}
    result = metrics.overall_f_measure()
    parts = {f"{name}_{part}": float(result[part]) for part in ("precision", "recall")}
    return {name: float(result["f_measure"]), **parts}


def _listed(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return the events as sed_eval reads them, in seconds."""
    return [
        {"event_label": str(event.label), "onset": event.start / 1000, "offset": event.end / 1000} for event in events
    ]


def _sed_eval() -> Any:
    # Needed for events only, and slow to import.
    try:
        from sed_eval import sound_event
    except ModuleNotFoundError as error:
        raise UserError(f"event tasks need the package '{error.name}': pip install -e '.[superb]'") from error
    return sound_event
