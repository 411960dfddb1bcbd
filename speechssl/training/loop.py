"""A run from start to end, whatever is trained: open its folder, train with fairseq2, leave an encoder."""

from __future__ import annotations

import logging

import torch
from fairseq2.checkpoint import NOOP_HG_EXPORTER, CheckpointManager
from fairseq2.early_stopper import NOOP_EARLY_STOPPER
from fairseq2.gang import Gangs
from fairseq2.nn.data_parallel import get_data_parallel_facade
from fairseq2.nn.ddp import to_ddp
from fairseq2.nn.fsdp import to_fsdp
from fairseq2.profilers import NOOP_PROFILER
from fairseq2.utils.device_stat import NOOP_DEVICE_STAT_TRACKER
from fairseq2.utils.gc import NOOP_GARBAGE_COLLECTOR
from fairseq2.utils.stopwatch import Stopwatch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from speechssl.training.batch_norm import share_batch_norm
from speechssl.training.calibrate import updates_in
from speechssl.training.checkpoints import Postponed, checkpoint_manager, damage_is_told
from speechssl.training.device import compute_type
from speechssl.training.fairseq2_trainer import (
    NOOP_METRIC_DESCRIPTOR,
    NOOP_METRIC_RECORDER,
    MetricRecorder,
    StandardValidator,
    Trainer,
)
from speechssl.training.guard import NonFiniteGuard
from speechssl.training.intervals import fitted_intervals
from speechssl.training.metrics import RunRecorder, last_line
from speechssl.training.optimizer import build_optimizer
from speechssl.training.progress import TrainingProgress
from speechssl.training.run_folder import RunFolder
from speechssl.training.schedules import build_schedule
from speechssl.training.settings import Parallel
from speechssl.training.trainable import RunReader, Trainable, TrainBatch
from speechssl.training.unit import ModelTrainUnit, ModelValidUnit, ValidatorThen

log = logging.getLogger(__name__)


class TrainingLoop:
    """What one process holds while it trains.

    Args:
        trainable: data and model.
        folder: the run folder, locked.
        gangs: the processes.
    """

    def __init__(self, trainable: Trainable, folder: RunFolder, gangs: Gangs) -> None:
        self.trainable = trainable
        self.settings = trainable.settings
        self.folder = folder
        self.gangs = gangs
        self.device = gangs.device
        self.dtype: torch.dtype
        self.readers: list[RunReader[TrainBatch]] = []

    def close(self) -> None:
        """Stop the threads that read ahead."""
        for reader in self.readers:
            reader.close()

    def train(self) -> None:
        """Train up to the last update and write the encoder."""
        self.trainable.log_data()
        inputs = self.trainable.inputs()
        self.folder.check_same_inputs(inputs)
        fixed = self.folder.fixed_steps()
        precision = self.folder.precision()
        finished = fixed is not None and self.folder.has_encoder_of(fixed)
        # All processes have read the run folder before the first one writes into it.
        self.gangs.root.barrier()
        if finished:
            log.info("%s: trained before: all %d updates are done", self.folder.path, fixed)
            return
        self.dtype = compute_type(precision, self.device)
        self.trainable.check_plans(self.gangs)
        self._train(fixed, inputs)

    def _train(self, fixed: int | None, inputs: dict[str, str]) -> None:
        """Begin, or go on from the newest checkpoint.

        Args:
            fixed: number of updates, where the run has begun.
            inputs: files that are trained on, with their checksums.
        """
        manager = checkpoint_manager(self.folder.path, self.gangs)
        done = manager.maybe_get_last_step_number(exclude_model_only=True)
        if done is not None:
            self.folder.check_same_processes(done, self.gangs.root.size)
        model = self._fresh_model()
        if self.settings.init_from is not None and done is None:
            self.trainable.load_initial_weights(model)
        steps = self._steps(fixed)
        self.trainable.check_steps(model, steps, self.gangs)
        wrapped = self._wrap(model, manager)
        # Before the settings are written: what torch refuses must not stay in the folder.
        optimizer = build_optimizer(wrapped, self.settings.optim, self.dtype)
        if self.gangs.root.rank == 0:
            self.folder.write_settings(steps, self.dtype, inputs)
        facade = get_data_parallel_facade(wrapped)
        if done is not None and done >= steps:
            with damage_is_told(self.folder.path):
                manager.load_model_state(done, facade)
            self._save_encoder(model, done)
            return
        self._log_start(steps, done or 0)
        trainer, guard = self._trainer(model, wrapped, optimizer, manager, steps, done or 0)
        if done is None:
            self._prepare(wrapped)
        trainer.register_checkpoint_save_hook(
            lambda args: self._on_checkpoint(model, args.step_nr, trainer.step_nr, steps)
        )
        try:
            with damage_is_told(self.folder.path):
                trainer.run()
        finally:
            trainer.close()
        if trainer.step_nr < steps:  # fairseq2 takes an epoch without an update for an empty data set
            raise guard.error(f"every update of the first epoch ({guard.skipped})")
        log.info("finished: encoder in %s", self.folder.path / "encoder")

    def _log_start(self, steps: int, done: int) -> None:
        processes = self.gangs.root.size
        log.info(
            "%s: updates: %d, %s on %s%s%s",
            self.folder.path,
            steps,
            str(self.dtype)[6:],
            self.device,
            f", {processes} processes" if processes > 1 else "",
            f", going on from update {done}" if done else "",
        )

    def _fresh_model(self) -> nn.Module:
        """Return the model with the weights that the seed gives, whatever was drawn before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            model = self.trainable.build_model()
        return model.to(self.device)

    def _prepare(self, model: nn.Module) -> None:
        """Do what comes before the first update, with draws that depend on the seed alone."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self.settings.seed + self.gangs.root.rank)
            self.trainable.prepare(model, self.gangs, self.dtype)

    def _steps(self, fixed: int | None) -> int:
        """Return the number of updates: as set, as fixed when the run began, or as many as fit into the budget."""
        schedule = self.settings.schedule
        if schedule.steps is not None:
            return schedule.steps
        if fixed is not None:
            return fixed
        if schedule.epochs is not None:
            return max(1, round(schedule.epochs * self.trainable.updates_an_epoch(self.gangs)))
        assert schedule.minutes is not None
        reader = self._reader(training=True)
        model = self._fresh_model()
        optimizer = build_optimizer(model, self.settings.optim, self.dtype)
        steps = torch.tensor(updates_in(schedule.minutes, model, optimizer, reader, self.gangs.root, self.dtype))
        reader.close()
        steps = steps.to(self.device)
        self.gangs.root.broadcast(steps)
        return int(steps)

    def _reader(self, training: bool) -> RunReader[TrainBatch]:
        reader = self.trainable.reader(self.gangs, training)
        self.readers.append(reader)
        return reader

    def _wrap(self, model: nn.Module, manager: CheckpointManager) -> nn.Module:
        """Wrap the model for several processes."""
        if self.gangs.dp.size == 1:
            return model
        if self.device.type == "cpu":
            share_batch_norm(model)
        if self.settings.run.parallel is Parallel.fsdp:
            return to_fsdp(
                model,
                self.gangs,
                lambda module, wrapper: wrapper(module, reshard_after_forward=False),
                version="v2",
                broadcast_state=not manager.has_checkpoint(),
            )
        return to_ddp(model, self.gangs, find_unused_parameters=self.trainable.has_unused_parameters(model))

    def _trainer(
        self,
        model: nn.Module,
        wrapped: nn.Module,
        optimizer: Optimizer,
        manager: CheckpointManager,
        steps: int,
        done: int,
    ) -> tuple[Trainer, NonFiniteGuard]:
        settings = self.settings
        unit = ModelTrainUnit(wrapped, self.trainable.metrics)
        guard = NonFiniteGuard(self.gangs, lambda: unit.names, unit.undo, log.warning, settings.run.max_skipped)
        recorder: MetricRecorder = NOOP_METRIC_RECORDER
        if self.gangs.root.rank == 0:
            recorder = RunRecorder(self.folder.path, done)
        watch = Stopwatch()
        watch.start()
        amp = self.dtype is not torch.float32
        every = fitted_intervals(settings.run, steps, lambda: self.trainable.updates_an_epoch(self.gangs))
        trainer = Trainer(
            model=wrapped,
            unit=unit,
            data_reader=self._reader(training=True),
            gangs=self.gangs,
            amp=amp,
            amp_dtype=self.dtype,
            optimizer=optimizer,
            lr_scheduler=build_schedule(optimizer, settings.schedule, steps),  # type: ignore[arg-type]
            fp16_loss_scaler=guard,
            validator=self._validator(model, recorder, watch, amp),
            early_stopper=NOOP_EARLY_STOPPER,
            checkpoint_manager=manager,
            hg_exporter=NOOP_HG_EXPORTER,
            metric_recorder=recorder,
            garbage_collector=NOOP_GARBAGE_COLLECTOR,
            profiler=NOOP_PROFILER,
            device_stat_tracker=NOOP_DEVICE_STAT_TRACKER,
            wall_watch=watch,
            progress_reporter=TrainingProgress(self.gangs.root.rank == 0, unit.newest_loss),
            seed=settings.seed,
            no_sync_grad_accumulation=True,
            max_grad_norm=settings.optim.clip,
            max_num_steps=steps,
            validate_every_n_steps=every.validate,
            checkpoint_every_n_steps=every.checkpoint,
            keep_last_n_checkpoints=settings.run.keep_checkpoints,
            publish_metrics_every_n_steps=every.log,
        )
        return trainer, guard

    def _validator(self, model: nn.Module, recorder: MetricRecorder, watch: Stopwatch, amp: bool) -> ValidatorThen:
        validator = StandardValidator(
            units=[ModelValidUnit(model, self.trainable.valid_metrics)],
            data_readers=[self._reader(training=False)],
            gangs=self.gangs,
            amp=amp,
            amp_dtype=self.dtype,
            score_metric_descriptor=NOOP_METRIC_DESCRIPTOR,
            checkpoint_manager=Postponed(),  # type: ignore[arg-type]
            hg_exporter=NOOP_HG_EXPORTER,
            metric_recorder=recorder,
            profiler=NOOP_PROFILER,
            device_stat_tracker=NOOP_DEVICE_STAT_TRACKER,
            wall_watch=watch,
            progress_reporter=TrainingProgress(shown=self.gangs.root.rank == 0),
            seed=self.settings.seed,
        )
        return ValidatorThen(validator, lambda: self._after_validation(model))

    def _on_checkpoint(self, model: nn.Module, saved: int, done: int, steps: int) -> None:
        """Write `encoder/`, so that the run is usable at any time.

        Checkpoints are written while training goes on, so the weights may be some updates ahead of the one `saved`.
        The last encoder is left to the last checkpoint: when it is there, the run is finished.
        """
        if done == steps and saved != done:
            return
        self._save_encoder(model, done)

    def _after_validation(self, model: nn.Module) -> None:
        if self.gangs.root.rank == 0:
            self.trainable.after_validation(self.folder.path, model, last_line(self.folder.path, "valid"))

    def _save_encoder(self, model: nn.Module, step: int) -> None:
        """Write the encoder of update `step`."""
        state = whole_state(model)
        if self.gangs.root.rank == 0:
            self.trainable.save(self.folder.path / "encoder", state, step)


def whole_state(model: nn.Module) -> dict[str, Tensor]:
    """Return all weights, on the CPU. With FSDP each process holds a shard of every weight: all must call this."""
    weights: dict[str, Tensor] = model.state_dict()
    return {
        name: (weight.full_tensor() if isinstance(weight, DTensor) else weight).cpu()
        for name, weight in weights.items()
    }
