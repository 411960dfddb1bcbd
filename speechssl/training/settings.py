"""Settings of pretraining, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from omegaconf import MISSING

from speechssl.data.masking import MaskSettings
from speechssl.errors import UserError
from speechssl.limits import named, require
from speechssl.models.hubert import HubertConfig
from speechssl.settings import changed_fields, read_with


class Fit(Enum):
    """How utterances of different length share a batch."""

    pad = "pad"
    crop = "crop"


class Pool(Enum):
    """What the topic head reads."""

    mean = "mean"
    cls = "cls"


class TopicTargets(Enum):
    """Soft posteriors or the most probable topic."""

    soft = "soft"
    hard = "hard"


class OptimizerKind(Enum):
    """Which optimiser."""

    adamw = "adamw"
    muon = "muon"
    sgd = "sgd"


class ScheduleKind(Enum):
    """Shape of the learning rate over the run."""

    linear = "linear"
    cosine = "cosine"
    constant = "constant"
    infinite = "infinite"


class Precision(str, Enum):
    """Number format of the forward and backward pass."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class Parallel(Enum):
    """How several processes share the model."""

    ddp = "ddp"
    fsdp = "fsdp"


@dataclass
class DataSettings:
    """What is trained on."""

    train: str = MISSING
    """Manifest of the training split, e.g. `data/asterisk/train.tsv`."""
    valid: str = MISSING
    """Manifest of the validation split."""
    labels: list[str] = MISSING
    """Folders of frame labels: `<split>.km`, named as the manifests are. Several folders are several label sets."""
    label_rate: float = 0.0
    """Labels a second of the label sets without a sidecar (fairseq's). 0: all have one."""
    topics: str | None = None
    """Folder of topic labels (`<split>.topic.npy`); needed when `objective.topic_weight` is above 0, and only
    then."""
    min_seconds: float = 2.0
    """Shorter utterances are left out and counted (2 as published)."""
    max_seconds: float = 15.625
    """Longer utterances are cropped at a random place (250 000 samples as published)."""
    cache_gb: float = 2.0
    """Decoded audio kept in memory, in gigabytes. Results do not depend on it."""
    workers: int = 2
    """Threads that read audio."""


@dataclass
class BatchSettings:
    """How utterances are grouped. The updates are the same for any number of processes."""

    seconds: float = 87.5
    """Audio in one batch on one device, padding included: what fits the memory."""
    total_seconds: float = 2400.0
    """Audio in one update over all devices; reached by accumulating batches."""
    fit: Fit = Fit.pad
    """`pad` to the longest of the batch, or `crop` to the shortest (as published)."""
    bucket_updates: int = 16
    """Utterances are sorted by length within this many updates, which saves padding. 1: within an update only, so that
    each has utterances of all lengths (`published`)."""


@dataclass
class ObjectiveSettings:
    """The losses. Masked prediction is always there; the topic task makes it HuBERTopic."""

    temperature: float = 0.1
    """Divides the cosine similarities."""
    layers: list[int] = field(default_factory=lambda: [-1])
    """Hidden states at which labels are predicted: -1 is the last; 0 is the input of the first layer."""
    unmasked_weight: float = 0.0
    """Weight of the loss at frames that are not masked (0 as published). It helps a short run off the ground."""
    feature_penalty: float = 10.0
    """Weight of the mean square of the convolutional features of `model.front_end=waveform`. 0 leaves it out."""
    topic_weight: float = 0.0
    """Weight of the topic loss, a mean over utterances. 0 is HuBERT."""
    topic_layer: int = -1
    """Hidden state that the topic head reads."""
    topic_pool: Pool = Pool.mean
    """Mean over frames, or a CLS frame (then `model.cls_frame` must be true)."""
    topic_targets: TopicTargets = TopicTargets.soft
    """Soft posteriors, or the most probable topic."""


@dataclass
class OptimSettings:
    """Adam with decoupled weight decay, as fairseq's Adam; Muon; or SGD with momentum."""

    kind: OptimizerKind = OptimizerKind.adamw
    """`adamw`; `muon` for the matrices of the layers, with `adamw` for all else; or `sgd`."""
    lr: float = 5e-4
    """Peak learning rate."""
    beta1: float = field(default=0.9, metadata=read_with("kind", OptimizerKind.adamw, OptimizerKind.muon))
    """Decay of the mean of gradients."""
    beta2: float = field(default=0.98, metadata=read_with("kind", OptimizerKind.adamw, OptimizerKind.muon))
    """Decay of the mean of squared gradients."""
    eps: float = field(default=1e-6, metadata=read_with("kind", OptimizerKind.adamw, OptimizerKind.muon))
    """Added to the denominator."""
    momentum: float = field(default=0.9, metadata=read_with("kind", OptimizerKind.sgd, OptimizerKind.muon))
    """`sgd` and `muon`: momentum."""
    trust: float = 0.0
    """`sgd`: trust coefficient of layer-wise adaptive rates (LARC), 0.001 as published; 0: one rate for all layers."""
    weight_decay: float = 0.01
    """Weight decay; decoupled with `adamw` and `muon`, added to the gradient with `sgd`."""
    clip: float = 10.0
    """Largest norm of the gradient of the normalised loss (10 as in HuBERT; published encoders of clips have no
    limit)."""

    def __post_init__(self) -> None:
        require(named(self, "lr", "clip", "eps", prefix="optim."), above=0)
        require(named(self, "weight_decay", "trust", prefix="optim."), least=0)
        require(named(self, "beta1", "beta2", "momentum", prefix="optim."), least=0, below=1)
        if self.trust > 0 and self.kind is not OptimizerKind.sgd:
            raise UserError(f"optim.trust={self.trust:g} is for optim.kind=sgd: set it to 0, or change the kind")


@dataclass
class ScheduleSettings:
    """Learning rate over the run. Fractions are of the number of updates."""

    kind: ScheduleKind = ScheduleKind.linear
    """After the warm-up: `linear` or `cosine` decay to 0; `constant`; `infinite` (arXiv 2503.02844)."""
    steps: int | None = None
    """Updates. Give either this, `epochs` or `minutes`."""
    epochs: float | None = None
    """Times that the training data are seen."""
    minutes: float | None = None
    """Training budget in minutes; the speed is measured before the start and the number of updates is then fixed. What
    comes before the first update is not in it: DECAR hears all clips once."""
    warmup: float = 0.08
    """Warm-up from 0 to the peak (32 k of 400 k as published)."""
    cooldown: float = field(default=0.1, metadata=read_with("kind", ScheduleKind.infinite))
    """`infinite`: cosine from the peak to the constant."""
    constant: float = field(default=0.25, metadata=read_with("kind", ScheduleKind.infinite))
    """`infinite`: the constant learning rate, as a share of the peak."""
    anneal: float = field(default=0.1, metadata=read_with("kind", ScheduleKind.infinite))
    """`infinite`: exponential decay at the end, before a release. 0 while audio keeps coming."""
    final: float = field(default=0.01, metadata=read_with("kind", ScheduleKind.infinite))
    """`infinite`: learning rate at the end of the anneal, as a share of the peak."""

    def __post_init__(self) -> None:
        parts = {"schedule.warmup": self.warmup}
        if self.kind is ScheduleKind.infinite:
            parts |= {"schedule.cooldown": self.cooldown, "schedule.anneal": self.anneal}
            require({"schedule.constant": self.constant}, above=0, most=1)
            require({"schedule.final": self.final}, above=0, most=self.constant)
            if self.anneal == 0 and "final" in changed_fields(self):
                raise UserError(
                    f"schedule.final={self.final:g} is the end of the anneal, and schedule.anneal=0 has none: "
                    "leave one of them out"
                )
        require(parts, least=0, most=1)
        if sum(parts.values()) > 1:
            raise UserError(f"{', '.join(parts)} are shares of the run: together at most 1")


@dataclass
class RunSettings:
    """How the run is carried out."""

    precision: Precision = Precision.auto
    """`auto`: bf16 on GPUs and on processors with bf16 instructions, else fp32; a run keeps what it began with."""
    device: str = "auto"
    """`cpu`, `cuda` (each process the GPU that torchrun gives it), or `auto`: a GPU where there is one."""
    parallel: Parallel = Parallel.ddp
    """Several processes: `ddp` copies the model, `fsdp` shards it."""
    checkpoint_every: int = 1000
    """Updates between checkpoints; about a tenth of the run where that is less."""
    keep_checkpoints: int = 1
    """Newest checkpoints kept."""
    validate_every: int | None = 1000
    """Updates between validations. Null: as many as an epoch has. There is always one at the end."""
    log_every: int = 50
    """Updates between lines of `metrics/train.jsonl`, or fewer in a short run or epoch; `checkpoint_every` and
    `validate_every` must be multiples."""
    max_skipped: int = 10
    """Updates with a loss that is not finite are skipped, counted and named; the run stops after this many."""

    def __post_init__(self) -> None:
        intervals = ("checkpoint_every", "keep_checkpoints", "validate_every", "log_every")
        require(named(self, *intervals, prefix="run."), least=1)
        for name in ("checkpoint_every", "validate_every"):
            if (getattr(self, name) or 0) % self.log_every:
                raise UserError(f"run.{name} must be a multiple of run.log_every={self.log_every}")
        require({"run.max_skipped": self.max_skipped}, least=0)


@dataclass
class TrainSettings:
    """What every training command reads."""

    out: str = MISSING
    """Run folder, e.g. `exp/mini/hubertopic-seed1`."""
    seed: int = 1
    """Seed of weights, crops, masks or augmentation, order and dropout."""
    init_from: str | None = None
    """Run or encoder folder whose weights this run starts from."""
    optim: OptimSettings = field(default_factory=OptimSettings)
    """Optimiser."""
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    """Learning rate."""
    run: RunSettings = field(default_factory=RunSettings)
    """Checkpoints, logging, precision, processes."""

    def __post_init__(self) -> None:
        budget = {name: getattr(self.schedule, name) for name in ("steps", "epochs", "minutes")}
        given = {f"schedule.{name}": value for name, value in budget.items() if value is not None}
        if not given:
            raise UserError("give one of schedule.steps=N, schedule.epochs=E and schedule.minutes=M")
        if len(given) > 1:
            both = " and ".join(f"{name}={value:g}" for name, value in given.items())
            raise UserError(f"{both} contradict each other: keep one and set the others to null")
        require(given, above=0)
        if self.optim.kind is OptimizerKind.muon and self.run.parallel is Parallel.fsdp:
            raise UserError(
                "optim.kind=muon needs whole matrices, and run.parallel=fsdp cuts them: "
                "use run.parallel=ddp, or optim.kind=adamw"
            )

    def check_manifests(self, train: str, valid: str) -> None:
        """Raise a `UserError` where what is trained on is to judge the training."""
        if MISSING not in (train, valid) and Path(train).resolve() == Path(valid).resolve():
            raise UserError(f"data.valid={valid} is data.train too: give held-out recordings")

    def may_change(self) -> tuple[str, ...]:
        """Return the settings that do not change what is learned."""
        return ("out", *(f"run.{name}" for name in _RUN_MAY_CHANGE))


_RUN_MAY_CHANGE = ("device", "checkpoint_every", "keep_checkpoints", "validate_every", "log_every", "max_skipped")


@dataclass
class PretrainSettings(TrainSettings):
    """Everything that `speechssl pretrain` reads."""

    data: DataSettings = field(default_factory=DataSettings)
    """Manifests and labels."""
    model: HubertConfig = field(default_factory=HubertConfig)
    """The encoder."""
    mask: MaskSettings = field(default_factory=MaskSettings)
    """Span masks."""
    batch: BatchSettings = field(default_factory=BatchSettings)
    """Batches."""
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    """Losses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(named(self.data, "workers", "max_seconds", prefix="data."), above=0)
        require(named(self.batch, "seconds", "total_seconds", "bucket_updates", prefix="batch."), above=0)
        require({"objective.temperature": self.objective.temperature}, above=0)
        require(named(self.data, "label_rate", "cache_gb", prefix="data."), least=0)
        self.check_manifests(self.data.train, self.data.valid)
        if not self.data.labels:
            raise UserError("data.labels must name at least one folder of labels, e.g. data.labels=[exp/mini/units]")
        folders = [] if self.data.labels == MISSING else [Path(folder).resolve() for folder in self.data.labels]
        if len(set(folders)) < len(folders):
            raise UserError(f"data.labels={self.data.labels} names a folder twice, whose labels would count twice")
        if not self.objective.layers:
            raise UserError("objective.layers must name at least one hidden state, e.g. [-1]")
        weights = ("unmasked_weight", "feature_penalty", "topic_weight")
        require(named(self.objective, *weights, prefix="objective."), least=0)
        if self.objective.topic_weight > 0 and self.data.topics is None:
            raise UserError(
                "objective.topic_weight is above 0 but there are no topics: give data.topics=DIR or objective=hubert"
            )
        if self.objective.topic_weight == 0 and self.data.topics is not None:
            raise UserError(
                f"data.topics={self.data.topics} is not read with objective.topic_weight=0: "
                "give objective=hubertopic, or leave data.topics out"
            )
        if self.objective.topic_pool is Pool.cls and not self.model.cls_frame:
            raise UserError("objective.topic_pool=cls needs a CLS frame: set model.cls_frame=true")
        if self.model.cls_frame and self.objective.topic_pool is not Pool.cls:
            raise UserError("model.cls_frame=true is for objective.topic_pool=cls: give that too, or leave it out")
        self._require_read()

    def _require_read(self) -> None:
        """Raise a `UserError` for a setting of convolutions where the front end has none."""
        if self.model.front_end == "waveform":
            return
        penalty, usual = self.objective.feature_penalty, ObjectiveSettings.feature_penalty
        if penalty != usual:
            raise UserError(
                f"objective.feature_penalty={penalty:g} is not read with model.front_end=fbank, whose features are not "
                f"learned: leave it at {usual:g}, or give model.front_end=waveform"
            )
        factor, usual = self.model.feature_grad_mult, HubertConfig.feature_grad_mult
        if factor != usual and self.model.fbank_subsampling == "stack":
            raise UserError(
                f"model.feature_grad_mult={factor:g} is not read with model.fbank_subsampling=stack, which has no "
                f"convolutions: leave it at {usual:g}, or give model.fbank_subsampling=conv"
            )

    def may_change(self) -> tuple[str, ...]:
        """Return the settings that do not change what is learned."""
        same = (*super().may_change(), "data.cache_gb", "data.workers")
        # Cropped to the shortest of its batch, an utterance depends on how an update is split into batches.
        return same if self.batch.fit is Fit.crop else (*same, "batch.seconds")
