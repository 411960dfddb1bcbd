"""Which recordings train, tune and test."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechssl.evaluation.probes.splits import NotProbed, label, plan_folds, plan_test
from speechssl.evaluation.recordings import Recording


def recordings(speakers: dict[str, str], each: int = 10) -> list[Recording]:
    """`each` recordings of every speaker; `speakers` says the language of each."""
    return [
        Recording(f"{s}-{n}.wav", Path("/"), 16000, "train", {"speaker": s, "language": language})
        for s, language in speakers.items()
        for n in range(each)
    ]


def speakers_of(part) -> set[str]:
    return {recording.labels["speaker"] for recording in part.recordings}


def test_folds_have_other_speakers_in_every_part_and_test_all_once() -> None:
    data = recordings({f"s{n}": "xy"[n % 2] for n in range(12)})
    plan = plan_folds(label(data, "language", "speaker"), min_count=5, folds=4, seed=1)
    tested = [recording.name for fold in plan.folds for recording in fold.test.recordings]
    assert sorted(tested) == sorted(recording.name for recording in data)
    for fold in plan.folds:
        train, dev, test = speakers_of(fold.train), speakers_of(fold.dev), speakers_of(fold.test)
        assert train and dev and test and not (train & dev or train & test or dev & test)
        assert set(fold.train.classes) == {"x", "y"}
    assert plan.how == "4 folds, other speakers"


def test_the_speaker_is_probed_on_the_same_speakers() -> None:
    plan = plan_folds(label(recordings({"a": "x", "b": "y"}), "speaker", "speaker"), 5, 5, seed=1)
    for fold in plan.folds:
        assert set(fold.train.classes) == set(fold.dev.classes) == set(fold.test.classes) == {"a", "b"}
    assert plan.how == "5 folds, same speakers"


def test_one_voice_a_language_is_said_to_be_the_same_speakers() -> None:
    plan = plan_folds(label(recordings({"a": "x", "b": "y", "c": "z"}), "language", "speaker"), 5, 5, seed=1)
    assert plan.how.endswith("same speakers") and plan.left_out == 0


def test_a_class_of_one_speaker_is_left_out_where_two_others_remain() -> None:
    data = recordings({"a": "x", "b": "x", "c": "y", "d": "y", "e": "z"})
    plan = plan_folds(label(data, "language", "speaker"), 5, 5, seed=1)
    assert plan.classes == ["x", "y"] and plan.left_out == 10


@pytest.mark.parametrize(("unknown", "parts"), [(1, "other speakers"), (200, "same speakers")])
def test_recordings_of_unknown_speakers_are_left_out_where_most_are_known(unknown: int, parts: str) -> None:
    data = recordings({f"s{n}": "xy"[n % 2] for n in range(12)})
    data += [Recording(f"u{n}.wav", Path("/"), 16000, "train", {"language": "x"}) for n in range(unknown)]
    plan = plan_folds(label(data, "language", "speaker"), 5, 4, seed=1)
    tested = sum(len(fold.test) for fold in plan.folds)
    assert plan.how == f"4 folds, {parts}"
    assert plan.left_out == len(data) - tested == (1 if parts == "other speakers" else 0)


def test_unseen_test_classes_and_rare_classes_are_left_out_and_counted() -> None:
    train = recordings({"a": "x", "b": "y"}) + recordings({"c": "z"}, each=2)
    test = recordings({"t": "x", "u": "new"}, each=3)
    plan = plan_test(label(train, "language", "speaker"), label(test, "language", "speaker"), 5, seed=1)
    assert plan.classes == ["x", "y"] and plan.left_out == 2 + 3
    assert set(plan.folds[0].test.classes) == {"x"} and plan.how == "test part, other speakers"


@pytest.mark.parametrize(
    ("speakers", "each", "reason"),
    [({"a": "x", "b": "x"}, 10, "one value only"), ({"a": "x", "b": "y"}, 3, "fewer than two")],
)
def test_what_cannot_be_probed_says_why(speakers: dict[str, str], each: int, reason: str) -> None:
    with pytest.raises(NotProbed, match=reason):
        plan_folds(label(recordings(speakers, each), "language", "speaker"), 5, 5, seed=1)


@pytest.mark.parametrize("speakers", [12, 2], ids=["other speakers", "same speakers"])
def test_parts_do_not_depend_on_the_order_of_the_files(speakers: int) -> None:
    data = recordings({f"s{n}": "xy"[n % 2] for n in range(speakers)})
    plans = [plan_folds(label(rows, "language", "speaker"), 5, 4, 1) for rows in (data, data[::-1])]
    names = [
        [[r.name for r in part.recordings] for fold in plan.folds for part in (fold.train, fold.dev, fold.test)]
        for plan in plans
    ]
    assert names[0] == names[1]
