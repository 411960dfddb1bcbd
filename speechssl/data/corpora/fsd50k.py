"""FSD50K (arXiv 2010.00475, zenodo.org/record/4060432): 51 197 clips, 108 h, 200 kinds of sound (CC licences)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_layout
from speechssl.data.corpora.listed import listed_entries, read_csv
from speechssl.errors import UserError

_TRUTH = "FSD50K.ground_truth"
_AUDIO = {"dev": "FSD50K.dev_audio", "eval": "FSD50K.eval_audio"}
_SPLITS = {"train": "train", "val": "valid"}


def fsd50k(settings: CorpusSettings) -> Corpus:
    """Return the corpus: label `labels`, all classes of a clip, joined by commas; the official splits.

    The development set has train and valid, the evaluation set is test.
    """
    hint = (
        "the folder with the unpacked archives of https://zenodo.org/record/4060432: "
        f"{_AUDIO['dev']}, {_AUDIO['eval']} and {_TRUTH}"
    )
    root = require_layout(settings, hint, [f"{_TRUTH}/dev.csv", f"{_TRUTH}/eval.csv", *_AUDIO.values()])
    source = f"the tables of {_TRUTH}"
    return Corpus(root, ("labels",), lambda: listed_entries(root, list(_AUDIO.values()), _listed(root), source))


def _listed(root: Path) -> Iterator[Entry]:
    table = root / _TRUTH / "dev.csv"
    for row in read_csv(table, ["fname", "labels", "split"]):
        if row["split"] not in _SPLITS:
            raise UserError(f"{table}: the split of {row['fname']} is '{row['split']}', not train or val")
        yield _entry("dev", row, _SPLITS[row["split"]])
    for row in read_csv(root / _TRUTH / "eval.csv", ["fname", "labels"]):
        yield _entry("eval", row, "test")


def _entry(part: str, row: dict[str, str], split: str) -> Entry:
    return Entry(f"{_AUDIO[part]}/{row['fname']}.wav", {"labels": row["labels"]}, split)
