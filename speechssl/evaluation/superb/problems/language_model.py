"""Words of a language model in the characters that a CTC head tells: beam search by flashlight."""

from __future__ import annotations

import functools
import gzip
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl.errors import UserError
from speechssl.files import require_file

BEAM_SIZE = 5
BEAM_THRESHOLD = 25.0
LM_WEIGHT = 2.0
WORD_SCORE = -1.0
"""The four are those of s3prl's `downstream/asr/config.yaml`."""
_NOT_WORDS = {"<s>", "</s>", "<unk>"}


class WordBeamSearch:
    """Beam search for words of a language model, through torchaudio's `ctc_decoder`.

    A word is one of the language model's unigrams that s3prl's tokenizer can spell. It ends with a space or with the
    end of the utterance.

    Args:
        file: an n-gram language model in ARPA's format, `.arpa` or `.arpa.gz`.
        tokenizer: s3prl's for characters; its token 0 is the blank.

    Raises:
        UserError: flashlight-text is not installed, the file is missing or no ARPA, or no word of it can be
            spelled.
    """

    def __init__(self, file: Path, tokenizer: Any) -> None:
        _require_decoder()
        self._file = require_file(file)
        self._tokenizer = tokenizer
        words = [word for word in _unigrams(file) if word.lower() not in _NOT_WORDS]
        spelled = {word: tokenizer.encode(word) for word in words}
        self._spellings = {word: tokens for word, tokens in spelled.items() if tokenizer.unk_idx not in tokens}
        self._unspelled = len(words) - len(self._spellings)
        if not self._spellings:
            example = f" (e.g. '{words[0]}')" if words else ""
            raise UserError(
                f"lm={file}: none of its words{example} can be spelled with the characters of the training "
                "transcripts; take one in the same spelling"
            )

    def describe(self) -> str:
        """Return what a reader of the results should know."""
        left_out = f", {self._unspelled} others have characters that training lacks" if self._unspelled else ""
        return (
            f"wer_lm: beam search with {self._file.name} ({len(self._spellings)} words{left_out}), weight "
            f"{LM_WEIGHT:g}, score of a word {WORD_SCORE:g}, beam {BEAM_SIZE}"
        )

    def __call__(self, logits: Tensor) -> str:
        """Return the best words, with spaces between them, of the logits `(frames, tokens)` of one utterance."""
        emissions = torch.log_softmax(logits.float().cpu(), dim=1)
        # The last word has no space behind it: the end of the utterance ends it.
        end, space = self._tokenizer.eos_idx, self._tokenizer.vocab_to_idx(" ")
        emissions[:, end] = torch.logaddexp(emissions[:, end], emissions[:, space])
        (hypotheses,) = self._decoder(emissions[None])
        return " ".join(hypotheses[0].words) if hypotheses else ""

    @functools.cached_property
    def _decoder(self) -> Any:
        """The decoder. A large language model takes minutes to load, so only when it is used."""
        lexicon = "".join(f"{word} {' '.join(map(str, tokens))}\n" for word, tokens in self._spellings.items())
        tokens = self._tokenizer
        given = self._file, lexicon, tokens.vocab_size, tokens.pad_idx, tokens.eos_idx
        decoder = _IN_USE.get(given)
        if decoder is None:
            decoder = _IN_USE[given] = _load_decoder(*given)
        return decoder


_IN_USE: weakref.WeakValueDictionary[tuple[Any, ...], Any] = weakref.WeakValueDictionary()
"""Decoders, as long as somebody holds them: folds that spell alike share one, which takes gigabytes."""


def _load_decoder(file: Path, lexicon: str, tokens: int, blank: int, end: int) -> Any:
    from torchaudio.models.decoder import ctc_decoder

    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".lexicon") as written:
        written.write(lexicon)
        written.flush()
        try:
            return ctc_decoder(
                written.name,
                # Characters may be anything, so tokens go by their numbers.
                tokens=[str(token) for token in range(tokens)],
                lm=str(file),
                beam_size=BEAM_SIZE,
                beam_threshold=BEAM_THRESHOLD,
                lm_weight=LM_WEIGHT,
                word_score=WORD_SCORE,
                blank_token=str(blank),
                sil_token=str(end),
            )
        except RuntimeError as error:
            words = " ".join(str(error).split())
            reason = words.partition(" threw ")[2] or words
            raise UserError(f"lm={file} cannot be used ({reason}); get it again") from error


def _require_decoder() -> None:
    try:
        from torchaudio.models.decoder import ctc_decoder  # noqa: F401
    except (ImportError, RuntimeError) as error:
        raise UserError("lm needs flashlight-text: pip install -e '.[superb]'") from error


def _unigrams(file: Path) -> Iterator[str]:
    r"""Yield the words of ARPA's section `\1-grams:`, whose lines are `log10 probability`, word, back-off weight."""
    opened = gzip.open if file.suffix == ".gz" else open
    inside = False
    try:
        with opened(file, "rt", encoding="utf-8") as stream:
            for line in stream:
                text = line.strip()
                if text == "\\1-grams:":
                    inside = True
                elif inside and text.startswith("\\"):
                    return
                elif inside and text:
                    yield text.split()[1]
    except (OSError, EOFError, UnicodeDecodeError, IndexError) as error:
        raise UserError(f"lm={file} cannot be read as a language model in ARPA's format ({error})") from error
    raise UserError(f"lm={file} is cut off, or not in ARPA's format: it has no end of a section \\1-grams:")
