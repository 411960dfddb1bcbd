"""SF: characters and slots by CTC."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from speechssl.errors import UserError, few
from speechssl.evaluation.superb.data import PARTS, TaskData, Utterance
from speechssl.evaluation.superb.problems.transcription import ASR_WIDTH, Transcription, recurrent_head
from speechssl.s3prl_patches import guarded_s3prl

_OUTSIDE = "O"
"""Slot of a word that is in none."""
_SEPARATORS = ":;"
"""s3prl's scores write slots between them."""


class SlotFilling(Transcription):
    """The head of ASR on s3prl's characters and slots; F1 of the slots' types, character error rate of their values.

    The transcript has a slot for each of its words, `O` for none: "play some jazz" has "O O genre". A slot is told as
    `B-genre jazz E-genre`. Characters and slots are those of the training part; s3prl takes slots of the others too.

    Args:
        data: of the task.
        columns: the transcript and its slots.
        width: of the head.
        bf16: whether the products in its BLSTMs are in bf16.
    """

    metrics = ("slot_type_f1", "slot_value_cer")
    lower_is_better = False

    def __init__(self, data: TaskData, columns: Sequence[str], width: int = ASR_WIDTH, bf16: bool = False) -> None:
        if len(columns) != 2:
            raise UserError(f"labels={list(columns)}: this task reads two columns, the transcript and its slots")
        with guarded_s3prl():
            from s3prl.dataio.encoder.tokenizer import CharacterSlotTokenizer
        self._width, self._bf16 = width, bf16
        transcript, slots = columns
        train = data.parts["train"]
        names = sorted({name for item in train for name in item.labels[slots].split()} - {_OUTSIDE})
        for part in PARTS:
            _require_slots(data, part, columns, names)
        characters = sorted({" "}.union(*(item.labels[transcript] for item in train)))
        edges = [f"{edge}-{name}" for name in names for edge in "BE"]
        super().__init__(data, columns, CharacterSlotTokenizer(characters, edges))

    def head(self, dim: int) -> nn.Module:
        """Return s3prl's head, which augments in training."""
        return recurrent_head(dim, self._tokenizer.vocab_size, self._width, self._bf16)

    def scores(self, predictions: Sequence[str], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return s3prl's scores; without any slot there are no values to compare."""
        with guarded_s3prl():
            from s3prl.metric.slot_filling import slot_type_f1, slot_value_cer
        truth = [self._tokenizer.decode(self._encoded(utterance)) for utterance in utterances]
        scores = {"slot_type_f1": slot_type_f1(list(predictions), truth)}
        if any(set(utterance.labels[self._columns[1]].split()) - {_OUTSIDE} for utterance in utterances):
            scores["slot_value_cer"] = slot_value_cer(list(predictions), truth)
        return scores


def _require_slots(data: TaskData, part: str, columns: Sequence[str], known: Sequence[str]) -> None:
    """Raise a `UserError` unless each word has a slot that training has, and some word has another one than `O`."""
    transcript, slots = columns
    wrong = [(item, _wrong(item.labels[transcript], item.labels[slots], known)) for item in data.parts[part]]
    named = [f"{item.audio} (utterance {item.name}) {what}" for item, what in wrong if what]
    if named:
        raise UserError(f"{data.name(part)}: {len(named)} utterances with wrong labels: {few(named)}")
    if not any(set(utterance.labels[columns[1]].split()) - {_OUTSIDE} for utterance in data.parts[part]):
        raise UserError(f"{data.name(part)}: no word has a slot; there is nothing to fill")


def _wrong(transcript: str, slots: str, known: Sequence[str]) -> str:
    """Return what is wrong with an utterance's labels, nothing if they are good."""
    # s3prl splits at every single space.
    words, names = transcript.split(" "), slots.split(" ")
    if len(words) != len(names):
        return f"has {len(words)} words and {len(names)} slots; each word needs one, '{_OUTSIDE}' for none"
    new = sorted(set(names) - {_OUTSIDE, *known})
    if new:
        return f"has the slot '{new[0]}', which none of training has; take it out"
    if set(_SEPARATORS) & set(transcript + slots):
        return "has a ':' or ';' in its words or slots, which s3prl's scores cannot hold; write it in words"
    return ""
