"""One batch of training and of validation, as fairseq2's trainer calls them."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence

import torch
from torch import Tensor, nn

from speechssl.training.batch_norm import RunningStatistics
from speechssl.training.fairseq2_trainer import EvalUnit, Mean, MetricBag, TrainUnit, Validator
from speechssl.training.trainable import Metrics, TrainBatch


class ModelTrainUnit(TrainUnit[TrainBatch]):
    """Training: a batch's part of the loss, with its metrics.

    Args:
        model: the model, wrapped for several processes where there are several.
        metrics: names of the metrics it returns.
    """

    def __init__(self, model: nn.Module, metrics: Sequence[str]) -> None:
        self._model = model
        self._metrics = metrics
        self._statistics = RunningStatistics(model)
        self._seconds = 0.0
        self._loss: Tensor | None = None
        self.names: list[str] = []
        """Utterances of the update under way, in this process."""

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        """Register the metrics."""
        register_metrics(metric_bag, self._metrics)

    def set_step_nr(self, step_nr: int) -> None:
        """A new update begins."""
        self.names = []
        self._statistics.keep()

    def undo(self) -> None:
        """Put back what the forward passes of the update under way have changed; its gradients are the trainer's."""
        self._statistics.put_back()

    def process_batch(self, batch: TrainBatch, metric_bag: MetricBag) -> tuple[Tensor, int | None]:
        """Return the loss, scaled so that the trainer's mean over batches and processes is the loss of the update."""
        if not self.names:  # the first batch of the update tells of all
            self._seconds += batch.update_seconds
        self.names += batch.names
        loss, metrics = self._model(batch)
        update_metrics(metric_bag, metrics)
        loss = loss * batch.share
        self._loss = loss.detach()
        return loss, None

    def newest_loss(self) -> float | None:
        """Return the loss of the newest batch, for which this waits; `None` before the first one."""
        return None if self._loss is None else float(self._loss)

    def process_metric_values(self, values: MutableMapping[str, object]) -> None:
        """Add the audio trained on since the last line of the log, in seconds."""
        values["audio_seconds"] = self._seconds
        self._seconds = 0.0


class ModelValidUnit(EvalUnit[TrainBatch]):
    """Validation: the metrics of held-out audio."""

    name = None

    def __init__(self, model: nn.Module, metrics: Sequence[str]) -> None:
        self._model = model
        self._metrics = metrics

    def prepare_metric_bag(self, metric_bag: MetricBag) -> None:
        """Register the metrics."""
        register_metrics(metric_bag, self._metrics)

    def process_batch(self, batch: TrainBatch, metric_bag: MetricBag) -> None:
        """Add a batch's metrics."""
        _, metrics = self._model(batch)
        update_metrics(metric_bag, metrics)


class ValidatorThen(Validator):
    """fairseq2's validator, and something to do once it is over.

    Args:
        validator: does the validation.
        then: called after it, when the weights are as in training again.
    """

    def __init__(self, validator: Validator, then: Callable[[], None]) -> None:
        self._validator = validator
        self._then = then

    def run(self, train_step_nr: int) -> float | None:
        """Validate."""
        return self._validator.run(train_step_nr)

    def reset(self) -> None:
        """Make ready for the next validation; the trainer calls this when it has put the weights back."""
        self._validator.reset()
        self._then()


def register_metrics(bag: MetricBag, names: Sequence[str]) -> None:
    """Add a mean for each name."""
    for name in names:
        bag.add(name, Mean())


def update_metrics(bag: MetricBag, metrics: Metrics) -> None:
    """Add sums with their counts, so that means are over items and not over batches."""
    for name, (total, count) in metrics.items():
        bag.get(name, Mean).update(torch.as_tensor(total, dtype=torch.float32) / max(count, 1), weight=count)
