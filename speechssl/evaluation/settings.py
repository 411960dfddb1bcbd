"""Settings of `speechssl evaluate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from speechssl.data.masking import MaskSettings
from speechssl.errors import UserError

MIN_SECONDS = 0.1
"""Shorter recordings are left out of the probes: they may be too short for a frame."""
LARGEST_SEED = 2**32 - 1
"""numpy's, torch's and scikit-learn's generators have the seeds up to this in common."""


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
    """Recordings of each folder that are used at most, a seeded sample."""
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
    label_rate: float = 0.0
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
    mask: MaskSettings = field(default_factory=MaskSettings)
    """Mask of the masked accuracy."""

    def __post_init__(self) -> None:
        positive = {
            "batch_seconds": self.batch_seconds,
            "max_seconds": self.max_seconds,
            "rank_frames": self.rank_frames,
            "probe.utterances": self.probe.utterances,
            "probe.train_frames": self.probe.train_frames,
            "probe.test_frames": self.probe.test_frames,
            "probe.iterations": self.probe.iterations,
            "probe.weighted_sum_steps": self.probe.weighted_sum_steps,
            "retrieval.queries": self.retrieval.queries,
        }
        for name, value in positive.items():
            require_positive(name, value)
        if self.max_seconds < MIN_SECONDS:
            raise UserError(f"max_seconds={self.max_seconds:g} must be {MIN_SECONDS} or more, to leave a frame")
        if not 0 <= self.label_rate < math.inf:
            raise UserError(f"label_rate={self.label_rate:g} must be a number of 0 or more")
        if self.probe.folds < 2 or self.retrieval.candidates < 2 or self.probe.min_class_count < 2:
            raise UserError("probe.folds, probe.min_class_count and retrieval.candidates must be 2 or more")
        if not self.probe.regularisation or not all(0 < weight < math.inf for weight in self.probe.regularisation):
            raise UserError("probe.regularisation must list at least one weight, all numbers above 0")
        if self.probe.speaker_column in self.probe.quarters:
            raise UserError(f"probe.quarters has {self.probe.speaker_column}, whose numbers are names: leave it out")


def require_list(name: str, values: Sequence[float], fit: bool, which: str) -> None:
    """Raise a `UserError` unless there are values, all different, that `fit`: `which` says what does."""
    finite = all(abs(value) < math.inf for value in values)
    if not values or not finite or not fit or len(set(values)) < len(values):
        raise UserError(f"{name}={list(values)} must list different numbers {which}")


def require_seeds(seeds: Sequence[int]) -> None:
    """Raise a `UserError` unless there are seeds, all different, that every generator takes."""
    require_list("seeds", seeds, all(0 <= seed <= LARGEST_SEED for seed in seeds), f"from 0 to {LARGEST_SEED}")


def require_positive(name: str, value: float) -> None:
    """Raise a `UserError` unless a setting is a number above 0."""
    if not 0 < value < math.inf:
        raise UserError(f"{name}={value} must be more than 0")
