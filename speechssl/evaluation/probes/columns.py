"""Linear probes of metadata columns: speaker, gender, language, ... from mean-pooled hidden states."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechssl.errors import UserError, nearest
from speechssl.evaluation.extract import Hidden, Request
from speechssl.evaluation.linear import Parts, ProbeResult, probe
from speechssl.evaluation.probes.settings import EvaluateSettings, ProbeSettings
from speechssl.evaluation.probes.splits import (
    Fold,
    NotProbed,
    Plan,
    label,
    own_parts,
    plan_folds,
    plan_test,
)
from speechssl.evaluation.probes.tasks import Metric, Score, accuracy, commonest, macro_recall
from speechssl.evaluation.recordings import Recording, columns_of
from speechssl.models.encoder import Encoder
from speechssl.settings import changed_fields

_QUARTERS = 4
_DISCRETE = 10
"""A column of `probe.quarters` is cut where it has more different numbers than this."""


class ColumnTask:
    """One metadata column."""

    def __init__(self, column: str, plan: Plan, settings: EvaluateSettings, note: str = "") -> None:
        self.name = column
        self._plan = plan
        self._settings = settings
        truth = [name for fold in plan.folds for name in fold.test.classes]
        self.description: dict[str, Any] = {
            "metric": "balanced accuracy",
            "better": "more",
            "kind": "utterances",
            "parts": plan.how,
            "classes": len(plan.classes),
            "test": len(truth),
            "train": len(plan.folds[0].train),
            "left_out": plan.left_out,
            "chance": 1 / len(plan.classes),
        }
        if note:
            self.description["note"] = note

    @property
    def in_folds(self) -> bool:
        """Whether several parts are tested in turn."""
        return len(self._plan.folds) > 1

    def requests(self) -> Iterable[Request]:
        """Pooled hidden states of all parts."""
        for fold in self._plan.folds:
            for part in (fold.train, fold.dev, fold.test):
                for recording in part.recordings:
                    yield Request(recording, pooled=True)

    def score(self, hidden: Hidden, encoder: Encoder) -> Score:
        """Probe every fold; the predictions of all folds are counted together."""
        results = [self._probe_fold(fold, hidden) for fold in self._plan.folds]
        truth = [name for fold in self._plan.folds for name in fold.test.classes]
        return summarise(results, truth, self._plan.classes, macro_recall)

    def _probe_fold(self, fold: Fold, hidden: Hidden) -> ProbeResult:
        classes = self._plan.classes
        parts: list[Tensor] = []
        for part in (fold.train, fold.dev, fold.test):
            parts.append(torch.stack([hidden.pooled[recording.audio] for recording in part.recordings], dim=1))
            parts.append(class_indices(part.classes, classes))
        settings = self._settings.probe
        return probe(
            Parts(*parts),
            len(classes),
            settings.regularisation,
            settings.iterations,
            settings.weighted_sum_steps,
            self._settings.seed,
        )


def class_indices(names: Sequence[str], classes: Sequence[str]) -> Tensor:
    """Return the index of each name; one that no training part has gets an index that is never predicted."""
    index = {name: number for number, name in enumerate(classes)}
    return torch.tensor([index.get(name, len(classes)) for name in names])


def summarise(results: Sequence[ProbeResult], truth: list[str], classes: Sequence[str], metric: Metric) -> Score:
    """Put the predictions of all folds together and score them."""
    layers = range(len(results[0].dev_accuracy))
    best_layers = [int(np.argmax(result.dev_accuracy)) for result in results]

    def names(predictions: Iterable[Tensor]) -> list[str]:
        return [classes[index] for part in predictions for index in part.tolist()]

    best = names(result.predictions[layer] for result, layer in zip(results, best_layers, strict=True))
    weighted = names(result.weighted_predictions for result in results)
    return Score(
        layers=[metric(names(result.predictions[layer] for result in results), truth) for layer in layers],
        best=metric(best, truth),
        best_layer=commonest(best_layers),
        weighted=metric(weighted, truth),
        layer_weights=np.mean([result.layer_weights for result in results], axis=0).tolist(),
        details={
            "best_accuracy": accuracy(best, truth),
            "weighted_accuracy": accuracy(weighted, truth),
            "dev_accuracy_layers": np.mean([result.dev_accuracy for result in results], axis=0).tolist(),
            "dev_accuracy_weighted": float(np.mean([result.weighted_dev_accuracy for result in results])),
            "regularisation": [result.regularisation for result in results],
        },
    )


def column_tasks(
    known: Sequence[str], data: list[Recording], test: list[Recording] | None, settings: EvaluateSettings
) -> tuple[list[ColumnTask], list[dict[str, str]]]:
    """Return a task for each column that can be probed, and the columns left out with the reason.

    Args:
        known: columns of `data_dir`.
        data: recordings of `data_dir` that are used.
        test: recordings of `test_dir` that are used, where it is given.
        settings: of the command.

    Raises:
        UserError: a column that was asked for does not exist, or folds that nothing is divided into.
    """
    _require_columns("probe.columns", settings.probe.columns or [], known, settings)
    # Defaults need not be there.
    if settings.probe.quarters != ProbeSettings().quarters:
        _require_columns("probe.quarters", settings.probe.quarters, known, settings)
    retrieval = settings.retrieval
    for name in (name for name in changed_fields(retrieval) if name in ("column", "within")):
        _require_columns(f"retrieval.{name}", [getattr(retrieval, name)], known, settings)
    tasks, left_out = [], []
    if not known:
        left_out.append({"what": "probes of metadata columns", "reason": f"{settings.data_dir} has no labels"})
    for column in known if settings.probe.columns is None else settings.probe.columns:
        try:
            if column == settings.retrieval.column and settings.probe.columns is None:
                raise NotProbed("it names the sentence, which retrieval is about")
            tasks.append(_task(column, data, test, settings))
        except NotProbed as reason:
            left_out.append({"what": f"probe of column {column}", "reason": str(reason)})
    if settings.probe.folds != ProbeSettings.folds and not any(task.in_folds for task in tasks):
        raise UserError(f"probe.folds={settings.probe.folds} is not read: no column is tested in folds; leave it out")
    return tasks, left_out


def require_speakers(folders: Iterable[list[Recording]], settings: EvaluateSettings) -> None:
    """Raise a `UserError` where a column of speakers that was given is in none of the folders that are read."""
    column = settings.probe.speaker_column
    known = {name for recordings in folders for name in columns_of(recordings)}
    if column != ProbeSettings.speaker_column and column not in known:
        raise UserError(
            f"no metadata.tsv has a column '{column}'{nearest(column, known)} (known: "
            f"{', '.join(sorted(known)) or 'none'}); mend probe.speaker_column"
        )


def _require_columns(setting: str, columns: Sequence[str], known: Sequence[str], settings: EvaluateSettings) -> None:
    for column in columns:
        if column not in known:
            raise UserError(
                f"{settings.data_dir}/metadata.tsv has no column '{column}'{nearest(column, known)} "
                f"(known: {', '.join(known) or 'none'}); mend {setting}"
            )


def _task(column: str, data: list[Recording], test: list[Recording] | None, settings: EvaluateSettings) -> ColumnTask:
    """Probe on `test_dir` if it has classes of the column, else on the split `test`, else on folds."""
    note = ""
    if column in settings.probe.quarters:
        data, test, note = _quarters(column, data, test)
    speaker_column, count, seed = settings.probe.speaker_column, settings.probe.min_class_count, settings.seed
    parts = own_parts(data) if test is None and column != speaker_column else None
    if parts is not None:
        train, dev, own_test = (label(parts[part], column, speaker_column) for part in ("train", "dev", "test"))
        return ColumnTask(column, plan_test(train, own_test, count, seed, dev), settings, note)
    learnt = label(data, column, speaker_column)
    if test is not None and column != speaker_column:
        try:
            plan = plan_test(learnt, label(test, column, speaker_column), count, seed)
            return ColumnTask(column, plan, settings, note)
        except NotProbed:
            note = f"{note} no class of it in test_dir, so tested on folds of data_dir".strip()
    return ColumnTask(column, plan_folds(learnt, count, settings.probe.folds, seed), settings, note)


def _quarters(
    column: str, data: list[Recording], test: list[Recording] | None
) -> tuple[list[Recording], list[Recording] | None, str]:
    """Cut a column of many numbers (age) into four classes of about the same size; other cells are unknown there."""
    numbers = [number for number in (_number(recording, column) for recording in data) if number is not None]
    if len(set(numbers)) <= _DISCRETE:
        return data, test, ""
    edges = np.quantile(numbers, np.linspace(0, 1, _QUARTERS + 1)[1:-1])

    def cut(recording: Recording) -> Recording:
        labels = {name: cell for name, cell in recording.labels.items() if name != column}
        number = _number(recording, column)
        if number is not None:
            labels[column] = f"quarter {int(np.searchsorted(edges, number, side='left')) + 1}"
        return replace(recording, labels=labels)

    note = f"quarters: up to {', '.join(f'{edge:g}' for edge in edges)}, and above"
    return [cut(r) for r in data], None if test is None else [cut(r) for r in test], note


def _number(recording: Recording, column: str) -> float | None:
    """Return the cell of a recording, None where it is no number."""
    try:
        number = float(recording.labels.get(column, ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
