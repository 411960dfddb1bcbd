"""PR and ASR: phones or characters by CTC."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechssl.errors import UserError, few
from speechssl.evaluation.superb.data import PARTS, TaskData, Utterance
from speechssl.evaluation.superb.packed_lstm import with_packed_lstms
from speechssl.evaluation.superb.problems.language_model import WordBeamSearch
from speechssl.evaluation.superb.problems.problem import Problem, Scorer
from speechssl.s3prl_patches import guarded_s3prl

ASR_WIDTH = 1024
"""Of the head of ASR and SF, as published."""


class Transcription(Problem):
    """CTC on s3prl's tokens: what phone and speech recognition and slot filling share.

    Args:
        data: of the task.
        columns: label columns that the tokenizer encodes: the transcript, and what else it takes.
        tokenizer: one of s3prl's; its token 0 is the blank.
    """

    pooled = False
    lower_is_better = True

    def __init__(self, data: TaskData, columns: Sequence[str], tokenizer: Any) -> None:
        self._columns = columns
        self._tokenizer = tokenizer
        self._tokens: dict[tuple[str, ...], list[int]] = {}
        for part in PARTS[1:]:
            self._require_known(data, part)

    def loss(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]) -> Tensor:
        """Return the CTC loss as `torch.nn.CTCLoss` averages it; utterances shorter than their transcript give none."""
        logits, lengths = head(features, lengths)
        targets = [torch.tensor(self._encoded(utterance)) for utterance in utterances]
        return functional.ctc_loss(
            functional.log_softmax(logits, dim=2).transpose(0, 1),
            torch.cat(targets).to(logits.device),
            lengths.to(logits.device),
            torch.tensor([len(target) for target in targets], device=logits.device),
            blank=self._tokenizer.pad_idx,
            zero_infinity=True,
        )

    def predict(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]) -> list[str]:
        """Return the best path's text. Frames of the padding are left out, which s3prl reads in larger batches."""
        logits, lengths = head(features, lengths)
        return [self._best_path(row[:length]) for row, length in zip(logits, lengths.tolist(), strict=True)]

    def facts(self) -> dict[str, Any]:
        """Return the number of tokens."""
        return {"tokens": self._tokenizer.vocab_size}

    def _best_path(self, logits: Tensor) -> str:
        """Return the text of one utterance's logits `(frames, tokens)`."""
        special = (self._tokenizer.pad_idx, self._tokenizer.eos_idx)
        best = logits.argmax(dim=1).unique_consecutive().tolist()
        text: str = self._tokenizer.decode([token for token in best if token not in special])
        return text

    def _truth(self, utterances: Sequence[Utterance]) -> list[str]:
        return [utterance.labels[self._columns[0]] for utterance in utterances]

    def _require_known(self, data: TaskData, part: str) -> None:
        unknown = [item for item in data.parts[part] if self._tokenizer.unk_idx in self._encoded(item)]
        if unknown:
            column = self._columns[0]
            named = few([f"{item.audio} ('{item.labels[column]}')" for item in unknown])
            raise UserError(
                f"{data.name(part)}: {len(unknown)} utterances have something in their {column} that training does not "
                f"have: {named}; write it as in training, or take them out"
            )

    def _encoded(self, utterance: Utterance) -> list[int]:
        texts = tuple(utterance.labels[column] for column in self._columns)
        if texts not in self._tokens:
            self._tokens[texts] = self._tokenizer.encode(*texts)
        return self._tokens[texts]


class PhoneRecognition(Transcription):
    """Linear 256, linear (`s3prl.nn.linear.FrameLevelLinear`), phones separated by spaces; phone error rate.

    Phones are those of the training part: of LibriSpeech s3prl's list has 71 of them.
    """

    metrics = ("per",)

    def __init__(self, data: TaskData, columns: Sequence[str]) -> None:
        with guarded_s3prl():
            from s3prl.dataio.encoder.tokenizer import PHONEME_VOCAB, PhonemeTokenizer
        column = only_column(columns)
        phones = sorted({phone for item in data.parts["train"] for phone in item.labels[column].split()})
        self._published_phones = set(phones) <= set(PHONEME_VOCAB)
        super().__init__(data, [column], PhonemeTokenizer(phones))

    def head(self, dim: int) -> nn.Module:
        """Return s3prl's head."""
        with guarded_s3prl():
            from s3prl.nn.linear import FrameLevelLinear
        return FrameLevelLinear(dim, self._tokenizer.vocab_size, hidden_size=256)

    def facts(self) -> dict[str, Any]:
        """Return the number of tokens, and whether all phones are of s3prl's list, whose vowels have stress."""
        return {**super().facts(), "published_phones": self._published_phones}

    def scores(self, predictions: Sequence[str], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return s3prl's phone error rate."""
        with guarded_s3prl():
            from s3prl.metric import per
        return {"per": per(list(predictions), self._truth(utterances))}


class SpeechRecognition(Transcription):
    """Linear 1024, two BLSTM 1024 (`s3prl.nn.rnn.RNNEncoder`) with s3prl's SpecAugment; word and character error rate.

    Characters are those of the training part.

    Args:
        data: of the task.
        columns: the one of the transcripts.
        lm: a language model in ARPA's format. The test part is decoded with it too, and has the word error rate of
            that as `wer_lm`.
        width: of the head (:func:`recurrent_head`).
        bf16: see there.
    """

    metrics: Sequence[str] = ("wer", "cer")

    def __init__(
        self,
        data: TaskData,
        columns: Sequence[str],
        lm: Path | None = None,
        width: int = ASR_WIDTH,
        bf16: bool = False,
    ) -> None:
        with guarded_s3prl():
            from s3prl.dataio.encoder.tokenizer import CharacterTokenizer
        column = only_column(columns)
        characters = sorted({letter for item in data.parts["train"] for letter in item.labels[column]})
        super().__init__(data, [column], CharacterTokenizer(characters))
        self._width, self._bf16 = width, bf16
        self._search = None if lm is None else WordBeamSearch(lm, self._tokenizer)
        if self._search:
            self.metrics = (*self.metrics, "wer_lm")

    def head(self, dim: int) -> nn.Module:
        """Return s3prl's head, which augments in training."""
        return recurrent_head(dim, self._tokenizer.vocab_size, self._width, self._bf16)

    def scores(self, predictions: Sequence[str], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return s3prl's word and character error rates, without a language model."""
        with guarded_s3prl():
            from s3prl.metric import cer, wer
        truth = self._truth(utterances)
        return {"wer": wer(list(predictions), truth), "cer": cer(list(predictions), truth)}

    def predict_test(
        self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]
    ) -> list[Any]:
        """Return the texts, or with a language model the texts of both ways to decode."""
        if self._search is None:
            return self.predict(head, features, lengths, utterances)
        logits, lengths = head(features, lengths)
        rows = [row[:length] for row, length in zip(logits, lengths.tolist(), strict=True)]
        return [Decoded(self._best_path(row), self._search(row)) for row in rows]

    def test_scorer(self, validate: Callable[[], Sequence[Any]], valid: Sequence[Utterance]) -> Scorer:
        """Return what scores both ways to decode where there is a language model."""
        return DecodedScorer(self) if self._search else self

    def facts(self) -> dict[str, Any]:
        """Return the number of tokens, and how the language model is used."""
        return {**super().facts(), **({"notes": [self._search.describe()]} if self._search else {})}


@dataclass(frozen=True)
class Decoded:
    """Both texts of an utterance."""

    best_path: str
    with_lm: str


class DecodedScorer(Scorer):
    """Error rates without and with a language model.

    Args:
        without: scores texts.
    """

    def __init__(self, without: Scorer) -> None:
        self._without = without

    def scores(self, predictions: Sequence[Decoded], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return the scores of the best path, and `wer_lm`."""
        with_lm = self._without.scores([said.with_lm for said in predictions], utterances)
        return {
            **self._without.scores([said.best_path for said in predictions], utterances),
            "wer_lm": with_lm["wer"],
        }

    def report(self, predictions: Sequence[Decoded], utterances: Sequence[Utterance]) -> Mapping[str, Any]:
        """Return both texts of each utterance."""
        return {item.name: asdict(said) for item, said in zip(utterances, predictions, strict=True)}


def only_column(columns: Sequence[str]) -> str:
    """Return the one column that a task has."""
    if len(columns) != 1:
        raise UserError(f"labels={list(columns)}: this task reads one column")
    return columns[0]


def recurrent_head(dim: int, tokens: int, width: int, bf16: bool) -> nn.Module:
    """Return the head of ASR and SF, with the settings of `s3prl.problem.SuperbASR`.

    Args:
        dim: of the features.
        tokens: what it tells apart.
        width: of the projection, and of each direction of the two BLSTMs.
        bf16: whether the BLSTMs' products are in bf16.
    """
    with guarded_s3prl():
        from s3prl.nn.rnn import RNNEncoder
        from s3prl.nn.specaug import ModelWithSpecaug
    network = RNNEncoder(
        dim,
        tokens,
        module="LSTM",
        proj_size=width,
        hidden_size=[width, width],
        dropout=[0.2, 0.2],
        layer_norm=[False, False],
        proj=[False, False],
        sample_rate=[1, 1],
        sample_style="concat",
        bidirectional=True,
    )
    return ModelWithSpecaug(
        with_packed_lstms(network, bf16),
        freq_mask_width_range=(0, 50),
        num_freq_mask=4,
        time_mask_width_range=(0, 40),
        num_time_mask=2,
    )
