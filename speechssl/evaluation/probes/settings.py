"""Settings of `speechssl evaluate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from speechssl.data.masking import MaskSettings
from speechssl.errors import UserError
from speechssl.limits import named, require, require_list
from speechssl.settings import changed_fields, read_where_set

MIN_SECONDS = 0.1
"""Shorter recordings are left out of the probes: they may be too short for a frame."""


@dataclass
class ProbeSettings:
    """Linear probes of pooled hidden states (metadata columns) and of frames (phones)."""

    columns: list[str] | None = None
    """Metadata columns to probe; null: all that can be probed (those left out are listed with the reason)."""
    quarters: list[str] = field(default_factory=lambda: ["age"])
    """Metadata columns of a measured number, which are cut into four classes of about the same size where they have
    more than ten different numbers. In all others a number is a class, such as a speaker's. Any other than `age` must
    be there."""
    speaker_column: str = "speaker"
    """Column that says who speaks: parts are disjoint in it, except when it is what is probed."""
    utterances: int = 1000
    """Recordings of each folder that are used at most, a seeded sample; where it has test splits of its own, so many of
    them and so many of the others."""
    min_class_count: int = 10
    """Recordings that a class needs to be probed; rarer ones are left out and counted."""
    folds: int = 5
    """Parts of the recordings that are tested in turn, where no recordings are kept for testing."""
    train_frames: int = 20000
    """Frames that the phone probe learns from at most, a seeded sample."""
    test_frames: int = 10000
    """Frames that the phone probe is tested on at most, and half as many choose layer and regularisation."""
    left_out_phones: list[str] = field(default_factory=lambda: ["sil", "pau"])
    """Phones that are not probed: silence at the edges says little about an encoder."""
    regularisation: list[float] = field(default_factory=lambda: [1.0, 1e-1, 1e-2, 1e-3])
    """Weights of the squared norm that are tried; the best on the dev part counts."""
    iterations: int = 50
    """Steps of the solver of one probe at most."""
    weighted_sum_steps: int = 200
    """Steps of Adam for the softmax-weighted sum of all layers."""


@dataclass
class RetrievalSettings:
    """Finding the same sentence, spoken by another voice, by dynamic time warping."""

    column: str = "prompt"
    """Column that is equal where the sentence is; recordings without it, or a folder without it, are left out."""
    within: str = "language"
    """Column in which query and candidates agree, where the metadata have it."""
    queries: int = 500
    """Queries at most, of all voices together: a seeded sample, spread evenly over the voices. The hidden states of all
    of them, and of their candidates, are in memory at once."""
    candidates: int = 50
    """Candidates of each query, all of one voice, the right one among them. Where many voices say a sentence, one of
    eight is drawn, the same eight for all sentences where they say them."""


@dataclass
class EvaluateSettings:
    """Probes of frozen encoders, side by side."""

    data_dir: str = MISSING
    """Folder of `speechssl manifest`: what the probes learn from, and RankMe and retrieval candidates come from."""
    out_dir: str = MISSING
    """Folder for `results.json` (every number) and `results.md` (the tables)."""
    encoders: Any = MISSING
    """Trained encoders: `FOLDER`, `{name: FOLDER}`, or `{name: [FOLDER, FOLDER]}` with one folder a seed: whatever
    `speechssl.load_encoder` takes, `s3prl:NAME` (an upstream of s3prl, e.g. `"s3prl:hubert_local?ckpt=FILE"`), or
    `hf:FOLDER` (a Hugging Face model)."""
    baselines: list[str] = field(default_factory=lambda: ["fbank", "random"])
    """What they stand beside: `fbank` (log-mel filterbanks), `random` (new ones of the first one's configuration)."""
    test_dir: str | None = None
    """Folder of recordings that are only tested on, e.g. voices never trained on; null: folds of `data_dir`, or its
    split `test` where it has one."""
    phones_dirs: list[str] = field(default_factory=list)
    """Folders with `alignments.tsv` for the phone probe; one that has a split `test` is tested on that."""
    labels_dir: str | None = None
    """Folder with `valid.km` for masked accuracy on the split `valid` of `data_dir`; null: left out."""
    label_rate: float = field(default=0.0, metadata=read_where_set("labels_dir"))
    """Labels a second, for label files without a sidecar (fairseq's). 0: read the sidecar."""
    seed: int = 1
    """Of every sample, fold and random encoder."""
    device: str = "auto"
    """Where encoders run: `cpu`, `cuda`, or `auto`."""
    batch_seconds: float = 60.0
    """Seconds of audio in a batch, padding included. Changes no result beyond rounding."""
    max_seconds: float = 20.0
    """Longer recordings are cut to this."""
    rank_frames: int = 25600
    """Frames for RankMe, a seeded sample (25 600 as in arXiv 2210.02885)."""
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    """Linear probes."""
    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)
    """Same-sentence retrieval."""
    mask: MaskSettings = field(default_factory=MaskSettings, metadata=read_where_set("labels_dir"))
    """Mask of the masked accuracy."""

    def __post_init__(self) -> None:
        require(named(self, "batch_seconds", "rank_frames"), above=0)
        probe = ("utterances", "train_frames", "test_frames", "iterations", "weighted_sum_steps")
        require(named(self.probe, *probe, prefix="probe."), above=0)
        require({"retrieval.queries": self.retrieval.queries}, above=0)
        require({"max_seconds": self.max_seconds}, least=MIN_SECONDS)
        require({"label_rate": self.label_rate}, least=0)
        require(named(self.probe, "folds", "min_class_count", prefix="probe."), least=2)
        require({"retrieval.candidates": self.retrieval.candidates}, least=2)
        require_list("probe.regularisation", self.probe.regularisation, above=0)
        changed = changed_fields(self.probe)
        of_phones = [name for name in ("train_frames", "test_frames", "left_out_phones") if name in changed]
        if of_phones and not self.phones_dirs:
            raise UserError(f"probe.{of_phones[0]} is of the phone probe: give phones_dirs too, or leave it out")
        self._check_columns("quarters" in changed)

    def _check_columns(self, quarters_given: bool) -> None:
        columns, quarters = self.probe.columns, self.probe.quarters
        if columns is not None and len(set(columns)) < len(columns):
            raise UserError(f"probe.columns={columns} names a column twice")
        if self.probe.speaker_column in quarters:
            raise UserError(f"probe.quarters has {self.probe.speaker_column}, whose numbers are names: leave it out")
        other = next((name for name in quarters if columns is not None and name not in columns), None)
        if quarters_given and other is not None:
            raise UserError(f"probe.quarters has {other}, which is not among probe.columns={columns}")
