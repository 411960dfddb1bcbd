"""ST: what is said, in another language."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from speechssl.evaluation.superb.data import TaskData, Utterance
from speechssl.evaluation.superb.problems.problem import Problem
from speechssl.evaluation.superb.problems.transcription import only_column

_BOS, _PAD, _EOS, _UNK = range(4)
"""As fairseq numbers them. Its decoder begins a text with the end of another."""
_LABEL_SMOOTHING = 0.1
_BEAM_SIZE = 20
_MOST_TOKENS = 400
"""Of a translation."""


class SpeechTranslation(Problem):
    """Transformer behind two convolutions; its loss and scores. BLEU (sacreBLEU, `13a`) and chrF, shares of 1.

    The head is fairseq's `s2t_transformer` with the settings of s3prl's `downstream/speech_translation` (SUPERB-SG,
    arXiv 2203.06849), as transformers has it, with transformers' initial weights. Tokens are the characters of
    training's translations, by SentencePiece, as there. Validation is decoded greedily, and the test part with a beam
    of 20, which s3prl has for both.
    """

    pooled = False
    metrics = ("bleu", "chrf")
    lower_is_better = False

    def __init__(self, data: TaskData, columns: Sequence[str]) -> None:
        self._column = only_column(columns)
        self._tokenizer = _characters([item.labels[self._column] for item in data.parts["train"]])

    def head(self, dim: int) -> nn.Module:
        """Return a new transformer."""
        return TranslationHead(dim, self._tokenizer.get_piece_size())

    def loss(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]) -> Tensor:
        """Return the cross-entropy with smoothed labels, summed over a text's tokens, the mean of the utterances."""
        network, heard = head(features, lengths)
        texts = [self._tokenizer.encode(item.labels[self._column], add_eos=True) for item in utterances]
        tokens = pad_sequence([torch.tensor(text) for text in texts], batch_first=True, padding_value=_PAD)
        tokens = tokens.to(features.device)
        before = torch.cat([torch.full_like(tokens[:, :1], _EOS), tokens[:, :-1]], dim=1)
        logits = network(**heard, decoder_input_ids=before).logits
        loss = functional.cross_entropy(
            logits.transpose(1, 2), tokens, ignore_index=_PAD, label_smoothing=_LABEL_SMOOTHING, reduction="sum"
        )
        return loss / len(utterances)

    def predict(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]) -> list[str]:
        """Return the translations of greedy decoding."""
        return self._written(head, features, lengths, beam_size=1)

    def predict_test(
        self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]
    ) -> list[str]:
        """Return the translations of beam search."""
        return self._written(head, features, lengths, beam_size=_BEAM_SIZE)

    def scores(self, predictions: Sequence[str], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return sacreBLEU's scores of all utterances together."""
        from sacrebleu.metrics import BLEU, CHRF

        truth = [[item.labels[self._column] for item in utterances]]
        scorers = {"bleu": BLEU(), "chrf": CHRF()}
        return {name: one.corpus_score(list(predictions), truth).score / 100 for name, one in scorers.items()}

    def facts(self) -> dict[str, Any]:
        """Return the number of tokens and how texts are found and scored."""
        import sacrebleu

        return {
            "tokens": self._tokenizer.get_piece_size(),
            "notes": [
                f"valid: greedy; test: beam search, beam {_BEAM_SIZE}",
                f"bleu: sacreBLEU {sacrebleu.__version__}, tokenizer 13a",
            ],
        }

    def _written(self, head: nn.Module, features: Tensor, lengths: Tensor, beam_size: int) -> list[str]:
        network, heard = head(features, lengths)
        tokens = network.generate(
            **heard,
            num_beams=beam_size,
            do_sample=False,
            early_stopping=beam_size > 1,
            max_new_tokens=_MOST_TOKENS,
            suppress_tokens=[_BOS, _PAD, _UNK],
        )
        return [self._tokenizer.decode(text) for text in tokens.tolist()]


class TranslationHead(nn.Module):
    """fairseq's transformer for speech translation, 3 + 3 layers, 512 wide, 8 heads; every fourth frame is kept.

    Unlike there, padding is silent to the second convolution, too: no utterance hears how long another one is.

    Args:
        dim: width of the features.
        tokens: of the translations.
    """

    def __init__(self, dim: int, tokens: int) -> None:
        super().__init__()
        from transformers import Speech2TextConfig, Speech2TextForConditionalGeneration

        self.network = Speech2TextForConditionalGeneration(
            Speech2TextConfig(
                vocab_size=tokens,
                input_feat_per_channel=dim,
                conv_kernel_sizes=(5, 5),
                conv_channels=1024,
                d_model=512,
                encoder_layers=3,
                decoder_layers=3,
                encoder_attention_heads=8,
                decoder_attention_heads=8,
                encoder_ffn_dim=2048,
                decoder_ffn_dim=2048,
                dropout=0.1,
                attention_dropout=0.1,
                activation_dropout=0.1,
                max_source_positions=6000,
                bos_token_id=_BOS,
                pad_token_id=_PAD,
                eos_token_id=_EOS,
                decoder_start_token_id=_EOS,
                tie_word_embeddings=False,
            )
        )
        encoder = self.network.model.encoder
        encoder.conv = _MaskedConvolutions(encoder.conv.conv_layers)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[nn.Module, dict[str, Tensor]]:
        """Return the transformer and what it hears: its decoder has to see tokens too.

        Args:
            features: `(batch, frames, dim)`.
            lengths: `(batch,)`.
        """
        frames = torch.arange(features.shape[1], device=features.device)
        mask = frames < lengths.to(features.device)[:, None]
        masked = torch.cat([features, mask[..., None].to(features.dtype)], dim=2)
        return self.network, {"input_features": masked, "attention_mask": mask.long()}


class _MaskedConvolutions(nn.Module):
    """Convolutions of stride 2, each behind a mask: the first one's bias makes something of padding.

    Args:
        conv_layers: those of transformers' `Conv1dSubsampler`.
    """

    def __init__(self, conv_layers: nn.ModuleList) -> None:
        super().__init__()
        self.conv_layers = conv_layers

    def forward(self, masked: Tensor) -> Tensor:
        """Return `(batch, kept frames, width)` of `(batch, frames, dim + 1)`, whose last number is 0 for padding."""
        states, mask = masked.transpose(1, 2).split([masked.shape[2] - 1, 1], dim=1)
        for convolution in self.conv_layers:
            states = functional.glu(convolution(states * mask), dim=1)
            mask = mask[..., ::2]
        return states.transpose(1, 2).contiguous()


def _characters(texts: Sequence[str]) -> Any:
    """Return SentencePiece's tokens of all characters in the texts."""
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="char",
        use_all_vocab=True,
        character_coverage=1.0,
        bos_id=_BOS,
        pad_id=_PAD,
        eos_id=_EOS,
        unk_id=_UNK,
        minloglevel=2,
    )
    return SentencePieceProcessor(model_proto=model.getvalue())
