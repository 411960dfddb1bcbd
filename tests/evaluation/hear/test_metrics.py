"""The scores, by hand and against scikit-learn and sed_eval."""

from __future__ import annotations

import numpy as np
import pytest
import sed_eval
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from speechssl.evaluation.hear.events import Event
from speechssl.evaluation.hear.metrics import EVENT_SCORES, event_scores, scene_score


def guesses(examples: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    targets = (random.random((examples, classes)) < 0.3).astype(np.float32)
    return (targets * 0.3 + random.random((examples, classes))).astype(np.float32), targets


def test_accuracy_by_hand() -> None:
    predictions = np.eye(30, dtype=np.float32)[[0, 13, 5, 7]]
    targets = np.eye(30, dtype=np.float32)[[0, 1, 6, 7]]
    assert scene_score("top1_acc", predictions, targets) == 0.5
    assert scene_score("pitch_acc", predictions, targets) == 0.5
    # 13 is an octave above 1.
    assert scene_score("chroma_acc", predictions, targets) == 0.75


def test_scores_of_classes_are_means_over_the_classes() -> None:
    predictions, targets = guesses()
    columns = list(zip(targets.T, predictions.T, strict=True))
    precision = np.mean([average_precision_score(truth, guess) for truth, guess in columns])
    areas = np.array([roc_auc_score(truth, guess) for truth, guess in columns])
    assert scene_score("mAP", predictions, targets) == pytest.approx(precision)
    assert scene_score("aucroc", predictions, targets) == pytest.approx(areas.mean())
    assert scene_score("d_prime", predictions, targets) == pytest.approx(np.mean(2**0.5 * norm.ppf(areas)))


def test_a_class_that_is_absent_has_no_curve_and_counts_as_no_precision(recwarn: pytest.WarningsRecorder) -> None:
    predictions, targets = guesses()
    known = scene_score("mAP", predictions[:, 1:], targets[:, 1:])
    targets[:, 0] = 0
    assert scene_score("aucroc", predictions, targets) is None
    assert scene_score("d_prime", predictions, targets) is None
    assert known is not None and scene_score("mAP", predictions, targets) == pytest.approx(known * 3 / 4)
    assert not list(recwarn)


def test_a_perfect_ranking_has_no_finite_d_prime() -> None:
    _, targets = guesses()
    assert scene_score("aucroc", targets, targets) == 1.0
    assert scene_score("d_prime", targets, targets) is None


TRUTH = [
    [Event(0, 1000, 1400), Event(1, 2000, 2400), Event(0, 3000, 3400)],
    [Event(1, 500, 900)],
]
FOUND = [
    # Right; 150 ms late; the wrong class.
    [Event(0, 1020, 1390), Event(1, 2150, 2500), Event(1, 3000, 3400)],
    # Right onset, but it ends late; and one that is not there.
    [Event(1, 520, 1500), Event(0, 3000, 3500)],
]


@pytest.mark.parametrize(
    ("name", "right"),
    [("event_onset_200ms_fms", 3), ("event_onset_50ms_fms", 2), ("event_onset_offset_50ms_20perc_fms", 1)],
)
def test_f_measures_by_hand(name: str, right: int) -> None:
    """Four events are there and five are found."""
    scores = event_scores([name], FOUND, TRUTH, 2)
    assert scores[f"{name}_precision"] == pytest.approx(right / 5)
    assert scores[f"{name}_recall"] == pytest.approx(right / 4)
    assert scores[name] == pytest.approx(2 * right / 9)


def test_scores_are_those_of_sed_eval() -> None:
    scores = event_scores(EVENT_SCORES, FOUND, TRUTH, 2)
    segments = sed_eval.sound_event.SegmentBasedMetrics(["a", "b"], time_resolution=1.0)
    events = sed_eval.sound_event.EventBasedMetrics(["a", "b"], t_collar=0.2, evaluate_offset=False)
    for truth, found in zip(TRUTH, FOUND, strict=True):
        both = [
            [{"event_label": "ab"[e.label], "event_onset": e.start / 1e3, "event_offset": e.end / 1e3} for e in part]
            for part in (truth, found)
        ]
        segments.evaluate(*both)
        events.evaluate(*both)
    rates, onsets = segments.results_overall_metrics(), events.results_overall_metrics()
    assert scores["segment_1s_er"] == pytest.approx(rates["error_rate"]["error_rate"])
    assert scores["event_onset_200ms_fms"] == pytest.approx(onsets["f_measure"]["f_measure"])


def test_nothing_found_is_a_score_of_zero_and_nothing_there_is_none() -> None:
    nothing: list[list[Event]] = [[], []]
    assert event_scores(["event_onset_200ms_fms"], nothing, TRUTH, 2)["event_onset_200ms_fms"] == 0
    assert event_scores(["segment_1s_er"], nothing, TRUTH, 2)["segment_1s_er"] == pytest.approx(1)
    assert event_scores(["event_onset_200ms_fms"], FOUND, nothing, 2)["event_onset_200ms_fms"] is None
    assert event_scores(["event_onset_200ms_fms"], nothing, nothing, 2)["event_onset_200ms_fms"] is None
