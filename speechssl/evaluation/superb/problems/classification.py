"""KS, SID, ER and IC: one class an utterance, or one in each of several columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechssl.errors import UserError, few
from speechssl.evaluation.superb.data import PARTS, TaskData, Utterance
from speechssl.evaluation.superb.grouping import rows_by_value
from speechssl.evaluation.superb.problems.problem import Problem
from speechssl.s3prl_patches import guarded_s3prl


class Classification(Problem):
    """Linear 256, mean over time, linear: `s3prl.nn.linear.MeanPoolingLinear`.

    An utterance is right when all its columns are. The loss is the sum of the columns' cross-entropies, as in s3prl's
    `UtteranceClassificationTask` and `UtteranceMultiClassClassificationTask`. Training hears whole utterances; in SID
    s3prl draws 8 s of a longer one at random.
    """

    pooled = True
    metrics = ("accuracy",)
    lower_is_better = False

    def __init__(self, data: TaskData, columns: Sequence[str]) -> None:
        self._columns = columns
        self._classes = [sorted({item.labels[column] for item in data.parts["train"]}) for column in columns]
        if all(len(classes) < 2 for classes in self._classes):
            told = ", ".join(f"{column} {classes[0]}" for column, classes in zip(columns, self._classes, strict=True))
            raise UserError(f"{data.name('train')}: all utterances are of one class ({told}); there is nothing to tell")
        self._numbers = [{label: number for number, label in enumerate(classes)} for classes in self._classes]
        for part in PARTS[1:]:
            self._require_known(data, part)

    def head(self, dim: int) -> nn.Module:
        """Return s3prl's head."""
        with guarded_s3prl():
            from s3prl.nn.linear import MeanPoolingLinear
        return MeanPoolingLinear(dim, sum(map(len, self._classes)), hidden_size=256)

    def loss(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]) -> Tensor:
        """Return the mean cross-entropy, summed over the columns."""
        logits = self._split(head(features, lengths))
        losses = []
        for column, numbers, part in zip(self._columns, self._numbers, logits, strict=True):
            targets = torch.tensor([numbers[utterance.labels[column]] for utterance in utterances], device=part.device)
            losses.append(functional.cross_entropy(part, targets))
        return torch.stack(losses).sum()

    def predict(
        self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]
    ) -> list[list[str]]:
        """Return the most probable class of each column."""
        parts = [part.argmax(dim=1).tolist() for part in self._split(head(features, lengths))]
        columns = [[names[number] for number in part] for names, part in zip(self._classes, parts, strict=True)]
        return [list(row) for row in zip(*columns, strict=True)]

    def scores(self, predictions: Sequence[list[str]], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return s3prl's accuracy."""
        with guarded_s3prl():
            from s3prl.metric import accuracy
        truth = [[utterance.labels[column] for column in self._columns] for utterance in utterances]
        return {"accuracy": accuracy(list(predictions), truth)}

    def facts(self) -> dict[str, Any]:
        """Return the number of classes of each column."""
        return {"classes": dict(zip(self._columns, map(len, self._classes), strict=True))}

    def _split(self, logits: Tensor) -> tuple[Tensor, ...]:
        return logits.split([len(classes) for classes in self._classes], dim=1)

    def _require_known(self, data: TaskData, part: str) -> None:
        for column, numbers in zip(self._columns, self._numbers, strict=True):
            unknown = [item for item in data.parts[part] if item.labels[column] not in numbers]
            if unknown:
                named = few([f"{item.audio} ('{item.labels[column]}')" for item in unknown])
                raise UserError(
                    f"{data.name(part)}: {len(unknown)} utterances have a {column} that none of training has: {named}; "
                    "take them out"
                )


class KeywordSpotting(Classification):
    """KS: a head is chosen by the mean over the classes, and tested by the share of utterances.

    More than half of the validation part of Speech Commands are other words than those to be spotted. s3prl draws from
    it at random so that all classes are as frequent, and this is the mean over all such draws.
    """

    def validation_scores(self, predictions: Sequence[list[str]], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return the mean over the classes (of the first column) of what s3prl's accuracy is on each."""
        of_class = [
            self.scores([predictions[row] for row in rows], [utterances[row] for row in rows])["accuracy"]
            for rows in rows_by_value(utterances, self._columns[0]).values()
        ]
        return {"accuracy": sum(of_class) / len(of_class)}
