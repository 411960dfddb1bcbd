"""Settings of training on clips, checked before anything is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from speechssl.audio import SAMPLE_RATE
from speechssl.audio.augment import AugmentSettings
from speechssl.audio.augment_waveform import WaveformAugmentSettings
from speechssl.errors import UserError
from speechssl.limits import named, require
from speechssl.models.clip_config import ClipConfig
from speechssl.objectives.choose import ViewObjectiveName, ViewObjectiveSettings
from speechssl.objectives.label_augmentation import LabelAugmentationSettings
from speechssl.objectives.self_distillation import SelfDistillationSettings
from speechssl.settings import changed_fields
from speechssl.training.settings import Parallel, TrainSettings


class Crops(Enum):
    """Where the views of a clip come from."""

    same = "same"
    different = "different"


@dataclass
class ClipDataSettings:
    """What is trained on."""

    train: str = MISSING
    """Manifest of the training split, e.g. `data/fsd50k/train.tsv`."""
    valid: str = MISSING
    """Manifest of the held-out split."""
    seconds: float = 0.95
    """Length of a clip, cut at a random place; a shorter recording is padded on both sides (0.95 as published)."""
    watch: int = 1024
    """Held-out clips, cut from the middle: on them, `pretrain_clips` watches for collapse (a rank is at most their
    number), and `distill` computes its loss. There they stay in memory. `finetune` takes all, and reads
    again what the cache does not hold."""
    waveform: WaveformAugmentSettings = field(default_factory=WaveformAugmentSettings)
    """Augmentation of waveforms: noise, pitch, speed."""
    cache_gb: float = 2.0
    """Decoded audio kept in memory, in gigabytes. Results do not depend on it."""
    workers: int = 2
    """Threads that read and augment audio."""


@dataclass
class ClipSettings(TrainSettings):
    """What all training on clips reads."""

    data: ClipDataSettings = field(default_factory=ClipDataSettings)
    """Manifests and clips."""
    model: ClipConfig = field(default_factory=ClipConfig)
    """The encoder."""
    clips: int = 512
    """Clips in an update, over all processes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.run.parallel is Parallel.fsdp:
            raise UserError("encoders of clips are not sharded, they are small: use run.parallel=ddp")
        self.check_manifests(self.data.train, self.data.valid)
        # Only where a model is made: an encoder folder may hold any value of what its backbone does not read.
        unread = [name for name in changed_fields(self.model) if not self.model.reads(name)]
        if unread:
            raise UserError(
                f"model.{unread[0]} is set, but the backbone is {self.model.backbone.value}, which does not read it: "
                "change model.backbone, or leave it out"
            )
        require({"clips": self.clips, **named(self.data, "workers", "watch", "seconds", prefix="data.")}, above=0)
        require({"data.cache_gb": self.data.cache_gb}, least=0)
        if round(self.data.seconds * SAMPLE_RATE) < 1:
            raise UserError(f"data.seconds={self.data.seconds} is less than a sample; clips have about a second")

    def may_change(self) -> tuple[str, ...]:
        """Return the settings that do not change what is learned."""
        return (*super().may_change(), "data.cache_gb", "data.workers")


@dataclass
class PretrainClipsSettings(ClipSettings):
    """Everything that `speechssl pretrain_clips` reads."""

    crops: Crops = Crops.same
    """The views of a recording are one clip augmented again and again (`same`), or clips of as many places
    (`different`)."""
    views: int = 2
    """Views of each recording in an update (2 as published). Of more, every pair is compared and the loss is the mean;
    MoCo compares all others with the last, and DECAR with the first. Time and memory grow with the number; the
    similarities of `simclr` and `slicer` with its square."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """Augmentation of log-mel spectrograms."""
    objective: ViewObjectiveSettings = field(default_factory=ViewObjectiveSettings)
    """The loss."""
    clusters: str | None = None
    """Folder of `speechssl cluster`: no two recordings of one cluster are in an update (G-SimCLR, arXiv 2009.12007)."""
    watch_column: str | None = None
    """Column of `metadata.tsv` beside the held-out manifest: its accuracy by nearest neighbours is watched too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.views < 2:
            raise UserError(f"views={self.views}: objectives compare 2 views of a recording or more")
        if self.objective.name is ViewObjectiveName.cola and self.crops is Crops.same:
            raise UserError("objective=cola compares two places of a recording: set crops=different")
        if self.k_mix and not self.augment.mixup_exp.enabled:
            raise UserError(
                "k-mix of objective=slicer is a kind of mixup_exp, which is off: set augment.mixup_exp.enabled=true, "
                "or objective.slicer.kmix.enabled=false"
            )

    def may_change(self) -> tuple[str, ...]:
        """Return the settings that do not change what is learned."""
        return (*super().may_change(), "watch_column")

    @property
    def k_mix(self) -> bool:
        """Whether clips are mixed with unlike ones."""
        return self.objective.name is ViewObjectiveName.slicer and self.objective.slicer.kmix.enabled


@dataclass
class DistillSettings(ClipSettings):
    """Everything that `speechssl distill` reads."""

    clusters: str = MISSING
    """Folder of `speechssl cluster`: `<split>.cluster`, named as the manifests are."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """Augmentation of log-mel spectrograms."""
    distillation: SelfDistillationSettings = field(default_factory=SelfDistillationSettings)
    """The losses."""


@dataclass
class PredictionPretrainingSettings:
    """Pseudo-labels of the recordings without a class are learnt before the real labels; off without `confidence`."""

    confidence: float | None = None
    """A pseudo-label is kept where the classifier gives it a higher probability than this and the nearest labelled
    recordings vote for it, as in `speechssl pseudo_label`; e.g. 0.9. Null: off."""
    neighbours: int = 5
    """Labelled recordings that vote on each recording: the nearest by cosine. All vote where there are fewer."""
    epochs: float = 5.0
    """Passes over the pseudo-labels that are kept, and the real labels beside them."""

    def check(self, name: str) -> None:
        """Raise a `UserError` for settings that cannot be, of which `name` is the whole name."""
        require(named(self, "neighbours", "epochs", prefix=f"{name}."), above=0)
        require({f"{name}.confidence": self.confidence}, least=0, below=1)
        changed = changed_fields(self)
        if self.confidence is None and changed:
            raise UserError(
                f"{name}.{changed[0]} is given and {name}.confidence is not, so it is not read: "
                f"give {name}.confidence=0.9 too, or leave it out"
            )


@dataclass
class FinetuneSettings(ClipSettings):
    """Everything that `speechssl finetune` reads.

    `init_from` names the encoder, of any kind; with null, a fresh one of `model` is trained from scratch.
    `data.seconds` is the length of the task's clips.
    """

    column: str = MISSING
    """Column of `metadata.tsv` beside the manifests: the classes. Recordings with an empty cell are left out and
    counted."""
    sla: LabelAugmentationSettings = field(default_factory=LabelAugmentationSettings)
    """Self-supervised label augmentation with self-distillation (arXiv 1910.05872)."""
    pseudo_labels: PredictionPretrainingSettings = field(default_factory=PredictionPretrainingSettings)
    """Prediction pre-training on the recordings without a class (arXiv 2011.09031): three trainings one after the
    other, of which the first and the last have the whole of `schedule`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sla.check("sla")
        self.pseudo_labels.check("pseudo_labels")
        if "watch" in changed_fields(self.data):
            raise UserError("data.watch is set, but finetune looks at all held-out clips: leave it out")
        changed = changed_fields(self.model)
        if self.init_from is not None and changed:
            raise UserError(
                f"model.{changed[0]} is set, but init_from={self.init_from} brings an encoder of its own: "
                "leave one of them out"
            )


@dataclass
class PseudoLabelSettings:
    """Everything that `speechssl pseudo_label` reads."""

    classifier: str = MISSING
    """Run folder of `speechssl finetune`: its best classifier predicts, its `column` names the classes and its
    `data.seconds` is the length of the clips, cut from the middles."""
    manifest: str = MISSING
    """Manifest of the target's recordings, e.g. `data/birds/train.tsv`. Those with a class in `metadata.tsv` vote, and
    those whose cell is empty get a pseudo-label."""
    out: str = MISSING
    """Folder for `pseudo_labels.tsv`, and for a manifest and `metadata.tsv` of what to train on."""
    confidence: float = 0.5
    """A pseudo-label is kept where the classifier gives it a higher probability than this (0.5 as HAST). Of two
    classes one always has more than half: set it higher."""
    neighbours: int = 5
    """Labelled recordings that vote on each recording: the nearest by cosine. All vote where there are fewer."""
    workers: int = 2
    """Threads that read audio. Changes no result."""
    device: str = "auto"
    """Where the classifier runs: `cpu`, `cuda`, or `auto`."""

    def __post_init__(self) -> None:
        require(named(self, "neighbours", "workers"), above=0)
        require({"confidence": self.confidence}, least=0, below=1)
