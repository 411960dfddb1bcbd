"""CoVoST 2 for ST: English of Common Voice, translated to German."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from speechssl.data.corpora.listed import read_csv
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row

logger = logging.getLogger(__name__)

_AUDIO_URL = "https://commonvoice.mozilla.org/en/datasets (Common Voice Corpus 4, English)"
_TABLE = "covost_v2.en_de.tsv"
_URL = f"https://dl.fbaipublicfiles.com/covost/{_TABLE}.tar.gz"
_SENTENCES = Need(("validated.tsv",), _AUDIO_URL)
_TRANSLATIONS = Need((_TABLE, f"../{_TABLE}"), _URL)
_PARTS = {"train": "train", "train_covost": "train", "dev": "valid", "test": "test"}
"""By the name in the column `split`; others are not used."""
_SPEAKER = ("client_id", "gender", "age", "accent")
_MOST_WORDS = 5
"""Words of a sentence for each of its translation, or the other way round, as in s3prl."""
_REMOVED = "REMOVE"
"""Stands in lines that translators marked as wrong."""
_DIALECT: Mapping[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "escapechar": "\\"}


def _rows(place: Place) -> Parts:
    """Return rows with `translation`, `sentence`, and `speaker`, `gender`, `age` and `accent` where they are known.

    Parts are those of CoVoST's `get_covost_splits.py`. As s3prl's preparation does, lines that are marked as wrong and
    those of unequal lengths are left out, and the punctuation of the translation is normalised.
    """
    normalize = _normalizer()
    sentences = {row["path"]: row for row in read_csv(_SENTENCES.require(place.root), ("path", "sentence"), **_DIALECT)}
    parts: dict[str, list[Row]] = {"train": [], "valid": [], "test": []}
    left_out = 0
    for path, translation, part in _translated(place.root):
        spoken = sentences.get(path)
        if spoken is None:
            continue  # CoVoST's lists are for several releases of Common Voice; a release lacks some recordings.
        if _unfit(spoken["sentence"], translation):
            left_out += 1
            continue
        row = {"id": Path(path).stem, "path": str(place.root / "clips" / path), "translation": normalize(translation)}
        known = {name.replace("client_id", "speaker"): spoken.get(name, "") for name in _SPEAKER}
        parts[part].append({**row, "sentence": spoken["sentence"], **known})
    logger.info("%s: %d lines left out, as s3prl does: marked as wrong, or of unequal lengths", _TABLE, left_out)
    return parts


def _translated(root: Path) -> Iterator[tuple[str, str, str]]:
    """Yield path, translation and part of every line that has a part."""
    for row in read_csv(_TRANSLATIONS.require(root), ("path", "translation", "split"), **_DIALECT):
        if row["split"] in _PARTS:
            yield row["path"], row["translation"], _PARTS[row["split"]]


def _unfit(sentence: str, translation: str) -> bool:
    first, second = sorted(len(text.split()) for text in (sentence, translation))
    return first == 0 or second > _MOST_WORDS * first or _REMOVED in sentence or _REMOVED in translation


def _normalizer() -> Callable[[str], str]:
    """Return what writes punctuation as s3prl's preparation does."""
    from sacremoses import MosesPunctNormalizer

    moses = MosesPunctNormalizer("de", pre_replace_unicode_punct=True, post_remove_control_chars=True)

    def normalize(raw: str) -> str:
        text: str = moses.normalize(raw)
        for mark in ".?,'":
            text = text.replace(f" {mark}", mark)
        return text

    return normalize


ST = CorpusTask(
    "CoVoST 2 (English to German)",
    ("CoVoST2", "covost2", "cv-corpus-4-2019-12-10/en", "en"),
    (Need(("clips",), _AUDIO_URL), _SENTENCES, _TRANSLATIONS),
    _rows,
    metadata=("speaker", "gender", "age", "accent"),
)
