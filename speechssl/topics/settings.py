"""Settings of the topics stage."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from speechssl.errors import UserError, nearest
from speechssl.limits import named, require
from speechssl.settings import changed_fields

WORD_KINDS: dict[str, tuple[str, ...]] = {
    "unit": (),
    "ngram": ("order",),
    "phrase": ("order", "threshold"),
    "subword": ("subwords",),
}
"""Kinds of words, and what each reads of the settings that only some kinds read."""
PHRASE_JOINTS = "_+-~="
"""Between the two parts that each round of phrases joins. gensim splits a word at its joint again to score it, so a
round must not have the joint of the round before."""
LABELLING = ("units", "data", "label_rate", "out", "splits", "topic_model")
"""Settings of `speechssl topics` that are read where there is a fitted model."""


@dataclass
class WordSettings:
    """How a sequence of units becomes words. Which word serves best is open in HuBERTopic; all of these are offered."""

    kind: str = "ngram"
    """`unit`: every unit is a word. `ngram`: every run of `order` neighbouring units is a word, overlapping.
    `phrase`: units that often stand together are joined (gensim's Phrases), without overlap.
    `subword`: a sentencepiece model of the units, each unit a character."""
    rate: float = 50.0
    """Units a second that words are made from. Of units that come more often, every second (third, ...) one is taken,
    as HuBERT does with MFCC units: what lasts for 10 ms only is mostly a transition."""
    deduplicate: bool = True
    """Take a unit that lasts for several frames once."""
    order: int = 2
    """`ngram`: units a word. `phrase`: largest number of rounds of joining plus one, at most 6."""
    threshold: float = 0.1
    """`phrase`: two units are joined if their normalised pointwise mutual information is above this: 0 where they
    stand together as often as by chance, 1 where they always do."""
    subwords: int = 2000
    """`subword`: size of the sentencepiece vocabulary, single units included."""

    def __post_init__(self) -> None:
        if self.kind not in WORD_KINDS:
            raise UserError(
                f"no words named '{self.kind}'{nearest(self.kind, WORD_KINDS)} (known: {', '.join(WORD_KINDS)})"
            )
        require(named(self, "order", "subwords", prefix="words."), least=1)
        require({"words.rate": self.rate}, above=0)
        require({"words.threshold": self.threshold}, least=-1, below=1)


@dataclass
class TopicSettings:
    """`speechssl topics`."""

    units: str = "???"
    """Folder of the frame labels `<split>.km`, as `speechssl label` wrote it."""
    label_rate: float = 0.0
    """Labels a second, for label files without a sidecar (fairseq's). 0: read the sidecar."""
    data: str = "???"
    """Folder of the manifests `<split>.tsv`, and of `metadata.tsv` where there is one."""
    out: str = "???"
    """Folder for `<split>.topic`, its sidecars, `topics.safetensors`, `quality.json` and `topics.png`."""
    splits: list[str] = field(default_factory=lambda: ["train", "valid"])
    """Splits to give topics to."""
    fit_split: str = "train"
    """Split that the topic model is fitted on."""
    topic_model: str = ""
    """A fitted `topics.safetensors` to label with. Empty: fit one. With one, the settings of words, documents
    and fit are the model's, and are not to be given."""
    words: WordSettings = field(default_factory=WordSettings)
    """How units become words."""
    no_below: int = 5
    """Leave out words that fewer utterances than this have."""
    no_above: float = 0.5
    """Leave out words that more than this share of the utterances have."""
    vocabulary: int = 100000
    """Keep at most this many words, those in most utterances."""
    tfidf: bool = False
    """Weight word counts by how rare a word is (count times the binary logarithm of utterances / utterances with
    it)."""
    topics: int = 10
    """Number of topics. This project's choice: the paper names none."""
    alpha: str = "symmetric"
    """Prior of topics in an utterance: `symmetric` (1 / topics each), `asymmetric` (falling) or `auto` (learned)."""
    eta: float = 1.0
    """Prior of words in a topic: as if every topic had had every word so many times. This project's choice: against
    1 / topics, held-out perplexity falls. Topics that a small corpus does not need stay nearly empty; with less, they
    are filled with a few words each."""
    passes: int = 20
    """Rounds of batch variational Bayes over the utterances."""
    iterations: int = 50
    """Most steps of inference an utterance."""
    fit_utterances: int = 20000
    """Fit on at most this many utterances, drawn with `seed`; all are labelled. Bounds time and memory."""
    seed: int = 0
    """Start of the topic model and draw of the utterances to fit on."""

    def __post_init__(self) -> None:
        if not self.splits or len(set(self.splits)) < len(self.splits):
            raise UserError(f"splits={self.splits}: give at least one, and none twice")
        if self.alpha not in ("symmetric", "asymmetric", "auto"):
            raise UserError(f"alpha={self.alpha}: give symmetric, asymmetric or auto")
        require(named(self, "topics", "fit_utterances"), least=2)
        require(named(self, "passes", "iterations", "vocabulary"), least=1)
        require({"eta": self.eta}, above=0)
        require({"label_rate": self.label_rate}, least=0)
        if self.fit_utterances < self.topics:
            raise UserError(f"fit_utterances={self.fit_utterances} is fewer than topics={self.topics}: raise it")
        if "???" not in (self.out, self.units) and Path(self.out).resolve() == Path(self.units).resolve():
            raise UserError(f"out={self.out} is units, whose quality.json stays as it is; give another folder")
        require({"no_above": self.no_above}, above=0, most=1)
        _check_words(self.words)
        fitting = [name for name in changed_fields(self) if name not in LABELLING]
        if self.topic_model and fitting:
            raise UserError(
                f"{fitting[0]} is set, but topic_model={self.topic_model} is fitted and has its own: "
                "leave one of them out"
            )


def _check_words(words: WordSettings) -> None:
    """Refuse what the kind of words does not read; of a fitted model, whatever its settings are is taken."""
    for name in changed_fields(words):
        kinds = [kind for kind, read in WORD_KINDS.items() if name in read]
        if kinds and words.kind not in kinds:
            raise UserError(
                f"words.{name} is set, but words={words.kind} does not read it: "
                f"use words={' or '.join(kinds)}, or leave it out"
            )
    longest = len(PHRASE_JOINTS) + 1
    if words.kind == "phrase" and words.order > longest:
        raise UserError(f"words.order={words.order}: words=phrase takes at most {longest}")
    if words.kind == "phrase" and words.order == 1 and "threshold" in changed_fields(words):
        raise UserError("words.threshold is set, but words.order=1 joins no units: give 2 or more, or leave it out")
