from __future__ import annotations

from pathlib import Path

import pytest

from speechssl.errors import UserError
from speechssl.evaluation.superb.data import TaskData, Utterance
from speechssl.evaluation.superb.groups import divide_groups, groups_of
from speechssl.evaluation.superb.settings import SuperbSettings


def settings(task: str = "ks", **given: object) -> SuperbSettings:
    return SuperbSettings(task=task, corpus_dir="corpora", out_dir="out", encoders={}, **given)


def data(*rows: dict[str, str]) -> TaskData:
    utterances = [Utterance(f"u{number}", Path("a.wav"), 1, row) for number, row in enumerate(rows)]
    return TaskData(Path("corpus"), {"test": utterances})


def test_known_columns_that_say_something_are_groups():
    found = data(
        {"label": "yes", "speaker": "a", "gender": "", "accent": "", "snr": "17.5"},
        {"label": "no", "speaker": "b", "gender": "f", "accent": "", "snr": "2.5"},
    )
    assert groups_of(settings(), [found], "test") == ["gender", "snr"]
    assert groups_of(settings(labels=["gender"]), [found], "test") == ["snr"], "a label is no group"
    assert groups_of(settings(groups=["speaker", "accent"]), [found], "test") == ["speaker", "accent"]
    assert groups_of(settings(groups=[]), [found], "test") == []
    with pytest.raises(UserError, match=r"test\.csv has no column 'gendr'; did you mean 'gender'"):
        groups_of(settings(groups=["gendr"]), [found], "test")


def test_a_column_that_says_something_in_one_fold_is_a_group():
    folds = [data({"label": "yes", "gender": ""}), data({"label": "no", "gender": "f"})]
    assert groups_of(settings(), folds, "test") == ["gender"]


def test_of_all_tasks_each_takes_the_columns_that_it_has():
    def divided(groups: list[str] | None) -> dict[str, list[str] | None]:
        tasks = {task: settings(task) for task in ("ks", "er", "se")}
        return {task: one.groups for task, one in divide_groups(tasks, groups).items()}

    assert divided(None) == {"ks": None, "er": None, "se": None}
    assert divided(["gender", "snr"]) == {"ks": [], "er": ["gender"], "se": ["snr"]}
    with pytest.raises(UserError, match=r"no corpus that is there has a column 'accent'; .* \(known: act, gender, "):
        divided(["gender", "accent"])
