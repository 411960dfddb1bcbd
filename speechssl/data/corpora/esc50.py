"""ESC-50 (Piczak 2015, github.com/karolpiczak/ESC-50): 2000 clips of 5 s of 50 kinds of sound (CC BY-NC)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_layout
from speechssl.data.corpora.listed import listed_entries, read_csv

_TABLE = "meta/esc50.csv"


def esc50(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `category`, `fold` (1 to 5), `esc10` (True or False) and `source`; no splits.

    Published numbers are means over the five folds. `esc10` is true for the ten categories of ESC-10. `source` is the
    recording of Freesound that a clip was cut from; all clips of one are in one fold.
    """
    hint = "the unpacked archive of https://github.com/karolpiczak/ESC-50, with audio and meta in it"
    root = require_layout(settings, hint, [_TABLE, "audio"])
    return Corpus(
        root, ("category", "fold", "esc10", "source"), lambda: listed_entries(root, ["audio"], _listed(root), _TABLE)
    )


def _listed(root: Path) -> Iterator[Entry]:
    for row in read_csv(root / _TABLE, ["filename", "fold", "category", "esc10", "src_file"]):
        labels = {
            "category": row["category"],
            "fold": row["fold"],
            "esc10": row["esc10"],
            "source": row["src_file"],
        }
        yield Entry(f"audio/{row['filename']}", labels)
