"""Settings of `speechssl evaluate benchmark=lape`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from omegaconf import MISSING

from speechssl.audio import SAMPLE_RATE
from speechssl.errors import UserError
from speechssl.limits import named, require, require_list, require_seeds
from speechssl.objectives.label_augmentation import LabelAugmentationSettings
from speechssl.settings import changed_fields, read_with
from speechssl.training.clips.settings import PredictionPretrainingSettings
from speechssl.training.settings import Precision

RESERVED_NAMES = ("manifests",)
"""Folders of `out_dir` that are no task's."""


class Split(str, Enum):
    """Which clips of a task are trained on and which are tested on."""

    official = "official"
    stratified = "stratified"
    folds = "folds"


class Protocol(str, Enum):
    """How the epoch is chosen whose test accuracy is reported."""

    sound = "sound"
    paper = "paper"


class Mode(str, Enum):
    """What learns a task's classes."""

    linear = "linear"
    finetune = "finetune"


LONGEST_CLIP = 3600
"""Seconds. Every clip is as long in memory."""

EPOCHS = {Mode.linear: 30, Mode.finetune: 100}
"""As published."""


@dataclass
class LapeTask:
    """One task: clips of one length, one class each."""

    name: str = MISSING
    """Name of the task in the results, and of its folder."""
    corpus: str = MISSING
    """Corpus of `speechssl manifest` whose metadata the task reads."""
    parts: list[str] = field(default_factory=list)
    """Parts of the corpus, where it has some (`corpus.parts` of `speechssl manifest`). Recordings of a `data_dir` whose
    column `part` says another one are left out and counted."""
    metadata: str = ""
    """`folder` only, with `corpus_dir`: table of labels, with tabs or commas (`corpus.metadata` of `speechssl
    manifest`)."""
    only: Any = None
    """Metadata columns and the value that a recording must have in each, e.g. `{language: en}`; others are left out
    and counted. Null: all recordings."""
    column: str = MISSING
    """Metadata column of the class. Recordings without it are left out and counted. `folder`, where there is no such
    column: the folder that a recording is in."""
    clip_seconds: float = MISSING
    """Length of every clip: shorter ones stand in the middle of zeros, of longer ones the middle is cut out."""
    split: Split = Split.stratified
    """`official`: splits train, valid and test of the manifest; `stratified`: 80/20 by class, seed 1; `folds`: the
    values of `fold_column` are tested in turn."""
    fold_column: str | None = None
    """`folds`: the column."""
    test_fold: str | None = None
    """`folds`: test this value of the column only; null: each in turn, and the mean of their accuracies counts."""
    group_column: str = "speaker"
    """Column of what clips of one recording have in common, e.g. who speaks: the part of train that is held out for
    validation has other ones, where the column is known, is not the class, and gives every class enough of them. Any
    other column than `speaker` must be there."""
    published: Any = None
    """Test accuracies by others, `{name: per cent}`, that stand beside ours in the tables: maxima over epochs."""
    distances: str | None = None
    """Square table of the distances between classes, for predictions by Loki's rule beside the most probable ones: a
    header `class<TAB>NAME<TAB>...`, and a line `NAME<TAB>distance<TAB>...` a class."""
    note: str = ""
    """What of it is this project's choice."""
    folder: str | None = None
    """Where `task=all` finds the data set's own folder, below its `corpus_dir`; null: the task's name."""
    members: dict[str, LapeTask] = field(default_factory=dict)
    """`all` only: the tasks, each with the settings of its own file."""


@dataclass
class LapeFinetuneSettings:
    """How the runs of `mode=finetune` are carried out."""

    precision: Precision = Precision.auto
    """`auto`: bf16 on GPUs and on processors with bf16 instructions, else fp32."""
    checkpoint_every: int = 10
    """Epochs between checkpoints, from which an interrupted run goes on; a tenth of the run where that is less. They
    are removed when it is finished."""
    sla: LabelAugmentationSettings = field(default_factory=LabelAugmentationSettings)
    """Self-supervised label augmentation with self-distillation, as in `speechssl finetune`."""
    pseudo_labels: PredictionPretrainingSettings = field(default_factory=PredictionPretrainingSettings)
    """Prediction pre-training, as in `speechssl finetune`: the training clips that a label fraction leaves out get
    pseudo-labels, which are learnt before the real ones."""

    def __post_init__(self) -> None:
        require({"finetune.checkpoint_every": self.checkpoint_every}, least=1)
        self.sla.check("finetune.sla")
        self.pseudo_labels.check("finetune.pseudo_labels")


@dataclass
class LapeSettings:
    """Encoders side by side, for one task: a linear head on each, or each fine-tuned."""

    task: LapeTask = field(default_factory=LapeTask)
    """Which classes, of which clips."""
    out_dir: str = MISSING
    """Folder of the results: `<task>/results.json` (fine-tuned: `<task>/finetune/results.json`) has every number,
    `results.md` and `results.tex` the tables of all tasks whose results are in it."""
    encoders: Any = MISSING
    """Trained encoders: `FOLDER`, `{name: FOLDER}`, or `{name: [FOLDER, FOLDER]}` with one folder a seed: whatever
    `speechssl.load_encoder` takes, `s3prl:NAME` (an upstream of s3prl, e.g. `"s3prl:hubert_local?ckpt=FILE"`), or
    `hf:FOLDER` (a Hugging Face model). Only those of speechssl can be fine-tuned."""
    baselines: list[str] = field(default_factory=lambda: ["fbank", "random"])
    """What they stand beside: `fbank` (log-mel filterbanks, which cannot be fine-tuned), `random` (new ones of the
    first one's configuration: fine-tuned, that is supervised training from scratch)."""
    data_dir: str | None = None
    """Folder of `speechssl manifest`. Give either this or `corpus_dir`."""
    corpus_dir: str | None = None
    """The data set's own folder, with `task=all` the folder of all of them; manifests are made in
    `out_dir/manifests/<task>`."""
    mode: Mode = Mode.linear
    """`linear`: encoders are frozen and a linear head learns; `finetune`: encoder and head learn together, from clips
    cut at random places, in runs as of `speechssl finetune` (`<task>/finetune/<encoder>/`), which resume."""
    protocol: Protocol = Protocol.sound
    """`sound`: learning rate and epoch are chosen on validation, and the test part is read once after that; `paper`:
    the maximum of the test accuracy over the epochs, as the published scores are."""
    label_fractions: list[float] = field(default_factory=lambda: [1.0])
    """Parts of the training labels that are used, one result each: a sample of each class, one clip a class at least.
    The validation part stays whole."""
    seeds: list[int] = field(default_factory=lambda: [1, 2, 3])
    """Each trains a head of its own: initial weights, order and places of the clips, and sample of the labels."""
    lr: list[float] = field(default_factory=lambda: [1e-3])
    """Learning rates of Adam; of several, the one that is best on validation counts (for each seed). With few labels
    30 epochs are few updates: for `linear` offer larger ones too, e.g. `[1e-3, 1e-2, 1e-1]`."""
    epochs: int | None = None
    """Passes over the training part. Null: 30 with `mode=linear` and 100 with `finetune`, as published."""
    batch_size: int = 32
    """Clips in an update."""
    standardise: bool | None = None
    """`linear`: features get mean 0 and deviation 1 over the training part (whatever the label fraction; this looks at
    no label). Null: with `protocol=sound`, so that one learning rate suits all encoders, however large their numbers
    are (this project's choice); not with `paper`, as published."""
    device: str = "auto"
    """Where encoders and heads run: `cpu`, `cuda`, or `auto`."""
    batch_seconds: float = field(default=60.0, metadata=read_with("mode", Mode.linear))
    """`linear`: seconds of audio in a batch of the encoder. Changes no result beyond rounding."""
    workers: int = 0
    """Threads that decode; 0 is one a core. Changes no result."""
    cache_gb: float = 2.0
    """Decoded audio kept in memory between encoders, in gigabytes; in fine-tuning each run keeps as much of its own.
    Changes no result."""
    finetune: LapeFinetuneSettings = field(default_factory=LapeFinetuneSettings)
    """Of `mode=finetune` only."""

    @property
    def passes(self) -> int:
        """Passes over the training part."""
        return EPOCHS[self.mode] if self.epochs is None else self.epochs

    @property
    def standardised(self) -> bool:
        """Whether features are standardised."""
        return self.protocol is Protocol.sound if self.standardise is None else self.standardise

    def __post_init__(self) -> None:
        if self.task.members:
            _check_all(self.task, self.corpus_dir)
        else:
            check_task(self.task)
        if (self.data_dir is None) == (self.corpus_dir is None):
            raise UserError(
                "give either data_dir (a folder of `speechssl manifest`) or corpus_dir (the data set's own)"
            )
        require({"epochs": self.passes, **named(self, "batch_size", "batch_seconds")}, above=0)
        require(named(self, "workers", "cache_gb"), least=0)
        require_list("lr", self.lr, above=0)
        require_seeds(self.seeds)
        require_list("label_fractions", self.label_fractions, above=0, most=1)
        for name, values in (("lr", self.lr), ("label_fractions", self.label_fractions)):
            if len({f"{value:g}" for value in values}) < len(values):
                raise UserError(f"{name}={values} has numbers that are the same to six digits, and so are their names")
        if self.protocol is Protocol.paper and len(self.lr) > 1:
            raise UserError("protocol=paper has no validation to choose a learning rate on; give one lr")
        if self.mode is Mode.finetune and self.standardise is not None:
            raise UserError("standardise is for mode=linear: fine-tuned encoders have no fixed features")
        changed = changed_fields(self.finetune)
        if self.mode is Mode.linear and changed:
            raise UserError(f"finetune.{changed[0]} is set, but mode=linear does not read it: leave one of them out")
        confidence = self.finetune.pseudo_labels.confidence
        if confidence is not None and 1 in self.label_fractions:
            raise UserError(
                f"finetune.pseudo_labels.confidence={confidence:g} is set, but with all labels no clip is unlabelled: "
                f"leave 1 out of label_fractions={self.label_fractions}"
            )
        if self.data_dir is not None:
            require_no_metadata(self.task, ", or give corpus_dir instead of data_dir")


def _check_all(task: LapeTask, corpus_dir: str | None) -> None:
    if corpus_dir is None:
        raise UserError("task=all needs corpus_dir, the folder that the data sets' own folders are in")
    none_given = LapeTask(task.name, corpus="", column="", clip_seconds=0.0, members=task.members)
    for setting in fields(task):
        if getattr(task, setting.name) != getattr(none_given, setting.name):
            raise UserError(
                f"task.{setting.name} is each task's own: with task=all give task.members.NAME.{setting.name}"
            )
    for member in task.members.values():
        check_task(member)
    names = [member.name for member in task.members.values()]
    if len(set(names)) < len(names):
        raise UserError(
            f"task.members has two tasks of one name ({', '.join(names)}): their results would be in one folder"
        )


def require_no_metadata(task: LapeTask, instead: str = "") -> None:
    """Raise a `UserError` where a table of labels is given for manifests that are there already."""
    if task.metadata:
        raise UserError(
            f"task.metadata={task.metadata} is read where manifests are made, and data_dir has them already: "
            f"give it to `speechssl manifest` as corpus.metadata{instead}"
        )


def check_task(task: LapeTask) -> None:
    """Raise a `UserError` where settings of one task contradict each other."""
    if not re.fullmatch(r"\w[\w.-]*", task.name) or task.name in RESERVED_NAMES:
        raise UserError(f"task.name={task.name} cannot be a folder's name here; use other letters, digits, - and _")
    require({"task.clip_seconds": task.clip_seconds}, above=0, most=LONGEST_CLIP)
    if round(task.clip_seconds * SAMPLE_RATE) < 1:
        raise UserError(f"task.clip_seconds={task.clip_seconds} is less than a sample; clips have a second or more")
    if (task.split is Split.folds) != (task.fold_column is not None):
        raise UserError("task.fold_column names the column of task.split=folds, and is for no other split")
    for name, value in (("only", task.only), ("published", task.published)):
        if value is not None and not isinstance(value, dict):
            raise UserError(f"task.{name}={value} must be a mapping, e.g. task.{name}='{{name: value}}'")
    if not all(isinstance(score, (int, float)) for score in (task.published or {}).values()):
        raise UserError(f"task.published={task.published} must give a number for each name")
    if task.test_fold is not None and task.split is not Split.folds:
        raise UserError(f"task.test_fold={task.test_fold} is for task.split=folds")
