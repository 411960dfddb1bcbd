"""Pretraining from start to end: read the settings and the data, train with fairseq2, leave an encoder."""

from __future__ import annotations

import dataclasses
import logging

# fairseq2.trainer imports itself in a circle unless fairseq2.recipe comes first.
import fairseq2.recipe  # noqa: F401  isort: skip
import torch
from fairseq2.checkpoint import NOOP_HG_EXPORTER, CheckpointManager
from fairseq2.early_stopper import NOOP_EARLY_STOPPER
from fairseq2.gang import Gangs
from fairseq2.metrics.recorders import NOOP_METRIC_DESCRIPTOR, NOOP_METRIC_RECORDER, MetricRecorder
from fairseq2.nn.data_parallel import get_data_parallel_facade
from fairseq2.nn.ddp import to_ddp
from fairseq2.nn.fsdp import to_fsdp
from fairseq2.profilers import NOOP_PROFILER
from fairseq2.trainer import Trainer
from fairseq2.utils.device_stat import NOOP_DEVICE_STAT_TRACKER
from fairseq2.utils.gc import NOOP_GARBAGE_COLLECTOR
from fairseq2.utils.stopwatch import Stopwatch
from fairseq2.validator import StandardValidator
from torch import nn

from speechssl.audio import SAMPLE_RATE
from speechssl.models.hubert import HubertEncoder
from speechssl.models.save import save_encoder
from speechssl.training.batching import UpdatePlanner
from speechssl.training.calibrate import updates_in
from speechssl.training.checkpoints import checkpoint_manager
from speechssl.training.dataset import AudioCache, PretrainDataset, check_same_source
from speechssl.training.device import compute_type, create_gangs, this_device
from speechssl.training.guard import NonFiniteGuard
from speechssl.training.metrics import RunRecorder
from speechssl.training.model import PretrainModel, build_model, heads_state, layer_index, whole_state
from speechssl.training.progress import TrainingProgress
from speechssl.training.reader import PretrainReader
from speechssl.training.run_folder import RunFolder
from speechssl.training.schedules import build_schedule
from speechssl.training.settings import Parallel, PretrainSettings
from speechssl.training.unit import PretrainUnit, ValidatorThen, ValidUnit

log = logging.getLogger(__name__)


def pretrain(settings: PretrainSettings) -> None:
    """Train, or go on with, the run in `settings.out`; its `encoder/` is there when this returns.

    Raises:
        UserError: data, labels and settings do not fit each other, or the run folder holds another run or is in use.
    """
    folder = RunFolder(settings)
    folder.check_same_settings()
    folder.open_log()
    with folder.locked():
        gangs = create_gangs(this_device(), settings.run.parallel)
        if gangs.root.rank > 0:
            # The first process speaks for all; warnings name what is wrong in one of them.
            logging.getLogger("speechssl").setLevel(logging.WARNING)
        run = _Run(settings, folder, gangs)
        try:
            run.train()
        finally:
            run.close()
            if gangs.root.size > 1 and torch.distributed.is_initialized():
                gangs.close()


class _Run:
    """What one process holds while it trains."""

    def __init__(self, settings: PretrainSettings, folder: RunFolder, gangs: Gangs) -> None:
        self.settings = settings
        self.folder = folder
        self.gangs = gangs
        self.device = gangs.device
        self.dtype = compute_type(settings.run.precision, self.device)
        # One layer only: the data asks it how many frames an utterance has.
        self.shape = HubertEncoder(dataclasses.replace(settings.model, num_layers=1))
        self.postponed: int | None = None
        self.readers: list[PretrainReader] = []
        self.cache = AudioCache(settings.data.cache_gb)
        self.train_data = self._dataset(settings.data.train, None)
        self.valid_data = self._dataset(settings.data.valid, 0)
        check_same_source(self.train_data, self.valid_data)

    def close(self) -> None:
        """Stop the threads that read ahead."""
        for reader in self.readers:
            reader.close()

    def train(self) -> None:
        """Train up to the last update and write the encoder."""
        self._log_data()
        inputs = self.train_data.inputs() | self.valid_data.inputs()
        self.folder.check_same_inputs(inputs)
        fixed = self.folder.fixed_steps()
        finished = fixed is not None and self.folder.has_encoder_of(fixed)
        # All processes have read the run folder before the first one writes into it.
        self.gangs.root.barrier()
        if finished:
            log.info("%s: trained before: all %d updates are done", self.folder.path, fixed)
            return
        self._check_plans()
        manager = checkpoint_manager(self.folder.path, self.gangs)
        done = manager.maybe_get_last_step_number(exclude_model_only=True)
        if done is not None:
            self.folder.check_same_processes(done, self.gangs.root.size)
        model = self._fresh_model()
        if self.settings.init_from is not None and done is None:
            self.folder.load_initial_weights(model)
        steps = self._steps(fixed)
        if self.gangs.root.rank == 0:
            self.folder.write_settings(steps, inputs)
        wrapped = self._wrap(model, manager)
        facade = get_data_parallel_facade(wrapped)
        if done is not None and done >= steps:
            manager.load_model_state(done, facade)
            self._save_encoder(model, done)
            return
        log.info(
            "%s: %s updates, %s on %s, %s process(es)%s",
            self.folder.path,
            steps,
            str(self.dtype)[6:],
            self.device,
            self.gangs.root.size,
            f", going on from update {done}" if done else "",
        )
        trainer = self._trainer(model, wrapped, manager, steps, done or 0)
        trainer.register_checkpoint_save_hook(
            lambda args: self._on_checkpoint(model, args.step_nr, trainer.step_nr, steps)
        )
        try:
            trainer.run()
        finally:
            trainer.close()

    def _dataset(self, manifest: str, seed: int | None) -> PretrainDataset:
        settings = self.settings
        return PretrainDataset(
            manifest,
            settings.data,
            settings.mask,
            self.shape,
            with_topics=settings.objective.topic_weight > 0,
            seed=settings.seed if seed is None else seed,
            cache=self.cache,
        )

    def _log_data(self) -> None:
        for name, data in (("train", self.train_data), ("valid", self.valid_data)):
            log.info(
                "%s: %d utterances, %.2f h; %d shorter than data.min_seconds=%g left out",
                name, len(data.samples), data.samples.sum() / SAMPLE_RATE / 3600, data.too_short,
                self.settings.data.min_seconds,
            )  # fmt: skip

    def _fresh_model(self) -> PretrainModel:
        """Return the model with the weights that the seed gives, whatever was drawn before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.settings.seed)
            model = self._build_model()
        return model.to(self.device)

    def _build_model(self) -> PretrainModel:
        topics = self.train_data.topics
        return build_model(
            self.settings,
            labels=[labels.info.k for labels in self.train_data.labels],
            topics=None if topics is None else topics.posteriors.shape[1],
        )

    def _steps(self, fixed: int | None) -> int:
        """Return the number of updates: as set, as fixed when the run began, or as many as fit into the budget."""
        schedule = self.settings.schedule
        if schedule.steps is not None:
            return schedule.steps
        if fixed is not None:
            return fixed
        assert schedule.minutes is not None
        reader = self._reader(self.train_data, training=True)
        steps = torch.tensor(updates_in(schedule.minutes, self._fresh_model(), reader, self.device, self.dtype))
        reader.close()
        steps = steps.to(self.device)
        self.gangs.root.broadcast(steps)
        return int(steps)

    def _planner(self, data: PretrainDataset) -> UpdatePlanner:
        batch = self.settings.batch
        return UpdatePlanner(
            samples=data.samples,
            update_samples=int(batch.total_seconds * SAMPLE_RATE),
            batch_samples=int(batch.seconds * SAMPLE_RATE),
            bucket_updates=batch.bucket_updates,
            processes=self.gangs.dp.size,
            seed=self.settings.seed,
        )

    def _check_plans(self) -> None:
        """Plan an epoch and a validation, so that what does not fit is told before anything is written."""
        train, valid = self._planner(self.train_data), self._planner(self.valid_data)
        for planner, updates in ((train, train.epoch(0)), (valid, valid.in_order())):
            for update in updates:
                planner.batches(update)

    def _reader(self, data: PretrainDataset, training: bool) -> PretrainReader:
        settings = self.settings
        reader = PretrainReader(
            data,
            self._planner(data),
            self.shape,
            settings.batch.fit,
            self.gangs.dp.rank,
            training,
            settings.data.workers,
        )
        self.readers.append(reader)
        return reader

    def _wrap(self, model: PretrainModel, manager: CheckpointManager) -> nn.Module:
        """Wrap the model for several processes."""
        if self.gangs.dp.size == 1:
            return model
        if self.settings.run.parallel is Parallel.fsdp:
            return to_fsdp(
                model,
                self.gangs,
                lambda module, wrapper: wrapper(module, reshard_after_forward=False),
                version="v2",
                broadcast_state=not manager.has_checkpoint(),
            )
        # Layers above the highest loss have no gradient.
        objective = self.settings.objective
        losses = [*objective.layers, objective.topic_layer] if objective.topic_weight > 0 else objective.layers
        unused = model.encoder.num_layers not in [layer_index(layer, model.encoder.num_layers) for layer in losses]
        return to_ddp(model, self.gangs, find_unused_parameters=unused)

    def _trainer(
        self, model: PretrainModel, wrapped: nn.Module, manager: CheckpointManager, steps: int, done: int
    ) -> Trainer:
        settings = self.settings
        optimizer = torch.optim.AdamW(
            wrapped.parameters(),
            lr=settings.optim.lr,
            betas=(settings.optim.beta1, settings.optim.beta2),
            eps=settings.optim.eps,
            weight_decay=settings.optim.weight_decay,
            fused=True,
        )
        names = [name for objective in model.objectives.values() for name in objective.metrics]  # type: ignore[union-attr]
        unit = PretrainUnit(wrapped, names, self.gangs.dp.size)
        recorder: MetricRecorder = NOOP_METRIC_RECORDER
        if self.gangs.root.rank == 0:
            recorder = RunRecorder(self.folder.path, done)
        watch = Stopwatch()
        watch.start()
        amp = self.dtype is not torch.float32
        return Trainer(
            model=wrapped,
            unit=unit,
            data_reader=self._reader(self.train_data, training=True),
            gangs=self.gangs,
            amp=amp,
            amp_dtype=self.dtype,
            optimizer=optimizer,
            lr_scheduler=build_schedule(optimizer, settings.schedule, steps),  # type: ignore[arg-type]
            fp16_loss_scaler=NonFiniteGuard(self.gangs, lambda: unit.names, log.warning, settings.run.max_skipped),
            validator=self._validator(model, names, manager, recorder, watch, amp),
            early_stopper=NOOP_EARLY_STOPPER,
            checkpoint_manager=manager,
            hg_exporter=NOOP_HG_EXPORTER,
            metric_recorder=recorder,
            garbage_collector=NOOP_GARBAGE_COLLECTOR,
            profiler=NOOP_PROFILER,
            device_stat_tracker=NOOP_DEVICE_STAT_TRACKER,
            wall_watch=watch,
            progress_reporter=TrainingProgress(shown=self.gangs.root.rank == 0),
            seed=settings.seed,
            no_sync_grad_accumulation=True,
            max_grad_norm=settings.optim.clip,
            max_num_steps=steps,
            validate_every_n_steps=settings.run.validate_every,
            checkpoint_every_n_steps=settings.run.checkpoint_every,
            keep_last_n_checkpoints=settings.run.keep_checkpoints,
            publish_metrics_every_n_steps=settings.run.log_every,
        )

    def _validator(
        self,
        model: PretrainModel,
        names: list[str],
        manager: CheckpointManager,
        recorder: MetricRecorder,
        watch: Stopwatch,
        amp: bool,
    ) -> ValidatorThen:
        validator = StandardValidator(
            units=[ValidUnit(model, names)],
            data_readers=[self._reader(self.valid_data, training=False)],
            gangs=self.gangs,
            amp=amp,
            amp_dtype=self.dtype,
            score_metric_descriptor=NOOP_METRIC_DESCRIPTOR,
            checkpoint_manager=manager,
            hg_exporter=NOOP_HG_EXPORTER,
            metric_recorder=recorder,
            profiler=NOOP_PROFILER,
            device_stat_tracker=NOOP_DEVICE_STAT_TRACKER,
            wall_watch=watch,
            progress_reporter=TrainingProgress(shown=self.gangs.root.rank == 0),
            seed=self.settings.seed,
        )
        return ValidatorThen(validator, lambda: self._save_postponed(model))

    def _on_checkpoint(self, model: PretrainModel, saved: int, done: int, steps: int) -> None:
        """Write `encoder/`, so that the run is usable at any time.

        Checkpoints are written while training goes on, so the weights may be some updates ahead of the one `saved`.
        The last encoder is left to the last checkpoint: when it is there, the run is finished.
        """
        if done == steps and saved != done:
            return
        if model.training:
            self._save_encoder(model, done)
        else:
            # fairseq2 finishes checkpoints during a validation too, where FSDP's weights may not be gathered anew.
            self.postponed = done

    def _save_postponed(self, model: PretrainModel) -> None:
        if self.postponed is not None:
            self._save_encoder(model, self.postponed)
            self.postponed = None

    def _save_encoder(self, model: PretrainModel, step: int) -> None:
        """Write the encoder of update `step`."""
        state = whole_state(model)
        if self.gangs.root.rank > 0:
            return
        with torch.device("meta"):
            whole = self._build_model()
        whole.load_state_dict(state, assign=True)
        info = {
            "step": step,
            "label_sets": list(self.settings.data.labels),
            "k": [labels.info.k for labels in self.train_data.labels],
            "frame_rate": [labels.info.frame_rate for labels in self.train_data.labels],
            "kmeans_sha256": [labels.info.kmeans_sha256 for labels in self.train_data.labels],
            "layer": layer_index(self.settings.objective.layers[-1], whole.encoder.num_layers),
            "logit_temperature": self.settings.objective.temperature,
        }
        save_encoder(self.folder.path / "encoder", whole.encoder, heads_state(whole), info)
