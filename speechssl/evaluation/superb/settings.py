"""Settings of `speechssl evaluate benchmark=superb`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from speechssl.errors import UserError, nearest
from speechssl.evaluation.superb.data import FIXED
from speechssl.evaluation.superb.tasks import ALL_TASKS, PRESETS, RECURRENT, SEARCHES
from speechssl.limits import named, require, require_list, require_seeds
from speechssl.models.device import pick_device

ALL = "all"
"""As a task: every one whose official corpus is there."""

_UNTRAINED: dict[str, Any] = {
    "labels": None, "preset": "full", "steps": None, "check_every": None, "batch_size": None, "lr": None, "seeds": [1],
    "head_width": None, "head_bf16": False,
}  # fmt: skip
"""The settings of training, as they stay where nothing is trained."""


@dataclass
class SuperbSettings:
    """Frozen encoders side by side, in one task of SUPERB: its published head on the weighted sum of hidden states."""

    task: str = MISSING
    """One of SUPERB's tasks, e.g. `ks` (a wrong one lists them), or `all` whose corpora are there."""
    data_dir: str | None = None
    """Folder with `train.csv`, `valid.csv` and `test.csv`: the columns `id`, `path` and the task's labels. `asv` reads
    trials beside them (`valid_trials.csv`, `test_trials.csv`: `label` 1 or 0, `first`, `second`), `sd` who speaks when
    (`train_segments.csv` and so on: `id`, `start`, `end` in seconds, `speaker`; or `.rttm`). `qbe` trains nothing: it
    reads `valid_queries.csv`, `valid_documents.csv`, `valid_matches.csv` (`query`, `document`), and the same of test.
    Give either this or `corpus_dir`."""
    corpus_dir: str | None = None
    """Folder of the task's official corpus as it is unpacked, or the folder above it; with `task=all` the folder of all
    of them."""
    lexicon: Any = None
    """`pr` with `corpus_dir`: file of pronunciations, or `[FILE, FILE]`, a line `WORD PHONE PHONE ...` each. Null: the
    one in LibriSpeech's folder."""
    lm: str | None = None
    """`asr`: an n-gram language model of words, `FILE.arpa` or `FILE.arpa.gz`. The test part is then also decoded with
    it (`wer_lm`)."""
    head_width: int | None = None
    """`asr`, `sf`, `se`, `ss`: numbers of each direction of the head's BLSTMs, e.g. 128. The published ones (1024, and
    896 of `se` and `ss`) are much for a processor and a small data set. Null: as published."""
    head_bf16: bool = False
    """`asr`, `sf`, `se`, `ss` on a processor with bf16 instructions: the products in those BLSTMs in bf16, so that they
    take about a third of the time of torch's own, instead of half. Products are rounded, so scores differ a little."""
    check: bool = False
    """Only say what is found of the data, what is missing and where to get it, and what is wrong."""
    out_dir: str = ""
    """Folder of the results: `<task>/results.json` has every number, `results.md` the table of all tasks in it."""
    encoders: Any = None
    """Trained encoders: `FOLDER`, `{name: FOLDER}`, or `{name: [FOLDER, FOLDER]}` with one folder a seed: whatever
    `speechssl.load_encoder` takes, `s3prl:NAME` or `hf:FOLDER`."""
    baselines: list[str] = field(default_factory=lambda: ["fbank", "random"])
    """What they stand beside: `fbank` (log-mel filterbanks), `random` (new ones of the first one's configuration)."""
    labels: list[str] | None = None
    """Label columns where the task does not fix them: one class of each is told (`label` unless given; IC of Fluent
    Speech Commands has `action`, `object` and `location`)."""
    groups: list[str] | None = None
    """Other columns of `test.csv` or `test_queries.csv`: their values have scores beside the mean. Null: those of
    `gender`, `age`, `accent`, `fluency`, `first_language`, `noise` and `snr` that are there. With `task=all` each task
    takes those of the list that it has."""
    preset: str = "full"
    """`full`: as many updates as published. `quick`: a tenth."""
    steps: int | None = None
    """Updates, instead of the preset's."""
    check_every: int | None = None
    """Updates between looks at the validation part. Null: as published, a tenth with `preset=quick`, and a tenth of
    `steps` where those are given."""
    batch_size: int | None = None
    """Utterances in an update. Null: as published."""
    lr: list[float] | None = None
    """Learning rates to choose from on the validation part. Null: those of the task, in steps of ten."""
    seeds: list[int] = field(default_factory=lambda: [1])
    """Each trains a head of its own: initial weights, dropout and order of the utterances."""
    cache_dir: str = "cache/superb"
    """Where hidden states are kept. It may be shared by tasks and runs."""
    cache_gb: float = 50.0
    """Gigabytes that it may take. A part that does not fit is encoded anew in every epoch, and this is said."""
    device: str = "auto"
    """Where encoders and heads run: `cpu`, `cuda`, or `auto`."""
    batch_seconds: float = 60.0
    """Seconds of audio in a batch of the encoder. Changes no result beyond rounding."""

    @property
    def lexicons(self) -> list[str]:
        """Files of pronunciations that were given."""
        given = self.lexicon if isinstance(self.lexicon, list) else [self.lexicon]
        return [str(Path(file).expanduser()) for file in given if file is not None]

    @property
    def lm_file(self) -> Path | None:
        """The language model that was given."""
        return None if self.lm is None else Path(self.lm).expanduser()

    def of_task(self, task: str) -> SuperbSettings:
        """Return the settings of one of all tasks."""
        lexicon, lm = self.lexicon if task == "pr" else None, self.lm if task == "asr" else None
        head = {} if task in RECURRENT else {"head_width": None, "head_bf16": False}
        untrained = _UNTRAINED if task in SEARCHES else {}
        return replace(self, **{"task": task, "lexicon": lexicon, "lm": lm, **head, **untrained})

    def __post_init__(self) -> None:
        known = [*ALL_TASKS, ALL]
        if self.task not in known:
            raise UserError(f"SUPERB has no task '{self.task}'{nearest(self.task, known)} (known: {', '.join(known)})")
        self._check_data()
        if self.preset not in PRESETS:
            raise UserError(f"preset={self.preset} is not one of {', '.join(PRESETS)}")
        if self.steps is not None and self.preset != "full":
            raise UserError(f"preset={self.preset} is not read with steps={self.steps}: leave one of them out")
        of_head = [name for name in ("head_width", "head_bf16") if getattr(self, name) != _UNTRAINED[name]]
        if of_head and self.task not in (*RECURRENT, ALL):
            raise UserError(
                f"{of_head[0]} is for {', '.join(RECURRENT)}, whose heads are large: leave it out of task={self.task}"
            )
        if self.head_bf16 and pick_device(self.device).type != "cpu":
            raise UserError("head_bf16=true is for a processor: leave it out, or give device=cpu")
        require(named(self, "steps", "check_every", "batch_size", "head_width", "batch_seconds"), above=0)
        require({"cache_gb": self.cache_gb}, least=0)
        if self.lr is not None:
            require_list("lr", self.lr, above=0)
        if self.labels is not None and (not self.labels or len(set(self.labels)) < len(self.labels)):
            raise UserError(f"labels={self.labels} must list different columns")
        fixed = [name for name in self.labels or () if name in FIXED]
        if fixed:
            raise UserError(f"labels={self.labels}: {fixed[0]} is no label; name columns that are learnt")
        require_seeds(self.seeds)
        set_here = [name for name, value in _UNTRAINED.items() if getattr(self, name) != value]
        if self.task in SEARCHES and set_here:
            raise UserError(f"task={self.task} trains nothing; leave out {', '.join(set_here)}")

    def _check_data(self) -> None:
        """Raise a `UserError` where it is not said what to evaluate, or on what."""
        needed = {"encoders": self.encoders is not None, "out_dir": bool(self.out_dir)}
        missing = [name for name, there in needed.items() if not there]
        if missing and not self.check:
            raise UserError(f"missing setting {', '.join(missing)}: give it as {missing[0]}=VALUE")
        if (self.data_dir is None) == (self.corpus_dir is None):
            raise UserError("give either data_dir (with train.csv, valid.csv and test.csv) or corpus_dir (official)")
        if self.lexicon is not None and (self.data_dir is not None or self.task not in ("pr", ALL)):
            raise UserError("lexicon is for task=pr with corpus_dir: a csv has phones of its own")
        files = self.lexicon if isinstance(self.lexicon, list) else [self.lexicon]
        if self.lexicon is not None and not all(isinstance(file, str) and file for file in files):
            raise UserError(f"lexicon={self.lexicon} must be FILE or [FILE, FILE]")
        if self.lm is not None and self.task not in ("asr", ALL):
            raise UserError(f"lm is for task=asr: task={self.task} has no words to decode")
        given = [("lexicon", Path(file)) for file in self.lexicons] + [("lm", file) for file in [self.lm_file] if file]
        for name, file in given:
            if not file.is_file():
                raise UserError(f"{name}={file} does not exist: give a file, or leave it out")
        if self.task == ALL and (self.data_dir is not None or self.labels is not None):
            raise UserError("task=all reads corpus_dir, and has no data_dir or labels: columns are each task's own")
