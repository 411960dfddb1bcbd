"""From the units of one utterance to its words."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import sentencepiece
from gensim.models.phrases import FrozenPhrases, Phrases

from speechssl.errors import UserError
from speechssl.topics.settings import PHRASE_JOINTS, WordSettings

Units = npt.NDArray[np.integer[Any]]

FIRST_CHARACTER = 0xF0000
"""Unit 0 as a character for sentencepiece: a private plane of Unicode, with room for 65 534 units."""
PRIVATE_CHARACTERS = 65534
JOINT = "_"
"""Between the units of an n-gram."""


@dataclass
class WordModel:
    """Turns units into words."""

    settings: WordSettings
    frame_rate: float
    """Units a second."""
    phrases: list[dict[str, float]] = field(default_factory=list)
    """`phrase`: for each round, the joined words and their scores."""
    subword_model: bytes = b""
    """`subword`: the sentencepiece model."""

    def __post_init__(self) -> None:
        rounds = zip(PHRASE_JOINTS, self.phrases, strict=False)
        self._rounds = [_frozen_phrases(joint, scores, self.settings.threshold) for joint, scores in rounds]
        self._subwords = sentencepiece.SentencePieceProcessor()
        if self.subword_model:
            self._subwords.LoadFromSerializedProto(self.subword_model)

    def __call__(self, units: Units) -> list[str]:
        """Return the words of one utterance.

        Args:
            units: `(frames,)` frame labels.

        Returns:
            Words in their order; units inside a word are joined by signs that are no digits.
        """
        units = self.thin(units)
        if self.settings.kind == "subword":
            pieces = self._subwords.EncodeAsPieces(as_text(units))
            return [JOINT.join(str(ord(character) - FIRST_CHARACTER) for character in piece) for piece in pieces]
        words = [str(unit) for unit in units.tolist()]
        if self.settings.kind == "ngram":
            order = self.settings.order
            return [JOINT.join(words[start : start + order]) for start in range(len(words) - order + 1)]
        for phrases in self._rounds:
            words = phrases[words]
        return words

    def thin(self, units: Units) -> Units:
        """Return those of the units `(frames,)` that words are made from."""
        units = units[:: max(1, round(self.frame_rate / self.settings.rate))]
        return deduplicate(units) if self.settings.deduplicate else units


def fit_words(settings: WordSettings, utterances: Sequence[Units], clusters: int, frame_rate: float) -> WordModel:
    """Fit what the kind of words needs to know of the corpus.

    Args:
        settings: kind and sizes.
        utterances: `(frames,)` frame labels of each utterance to fit on.
        clusters: number of different units.
        frame_rate: units a second.

    Raises:
        UserError: a subword vocabulary that does not suit the units.
    """
    model = WordModel(settings, frame_rate)
    if settings.kind == "phrase":
        for joint in PHRASE_JOINTS[: settings.order - 1]:
            sentences = [model(units) for units in utterances]
            found = _phrases(joint, settings.threshold, sentences).export_phrases()
            model = WordModel(settings, frame_rate, [*model.phrases, found])
    if settings.kind == "subword":
        rows = (model.thin(units) for units in utterances)
        model = WordModel(settings, frame_rate, subword_model=_fit_subwords(rows, settings.subwords, clusters))
    return model


def deduplicate(units: Units) -> Units:
    """Return `units` with every run of one unit replaced by a single one: `3 3 3 5 5 3` becomes `3 5 3`."""
    return units[np.diff(units, prepend=-1) != 0]


def as_text(units: Units) -> str:
    """Return units as a text of private characters, one each."""
    return "".join(chr(FIRST_CHARACTER + unit) for unit in units.tolist())


def _phrases(joint: str, threshold: float, sentences: list[list[str]] | None = None) -> Phrases:
    # gensim's default score falls with the size of the corpus; this one does not.
    return Phrases(sentences, threshold=threshold, delimiter=joint, scoring="npmi")


def _frozen_phrases(joint: str, scores: dict[str, float], threshold: float) -> FrozenPhrases:
    """Build the frozen phrases that a fit gave from their scores alone: gensim itself can only unpickle them."""
    frozen = _phrases(joint, threshold).freeze()
    frozen.phrasegrams = scores
    return frozen


def _fit_subwords(rows: Iterable[Units], size: int, clusters: int) -> bytes:
    if clusters > PRIVATE_CHARACTERS:
        raise UserError(f"subwords need at most {PRIVATE_CHARACTERS} different units, not {clusters}; use words=ngram")
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=(as_text(row) for row in rows),
            model_writer=written,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            bos_id=-1,
            eos_id=-1,
            # The default leaves out utterances of more than 4192 bytes without a word.
            max_sentence_length=1 << 30,
            # Several threads may break ties differently.
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        detail = str(error).strip().splitlines()[-1]
        raise UserError(
            f"sentencepiece cannot make {size} subwords of these units ({detail}); change words.subwords"
        ) from error
    return written.getvalue()
