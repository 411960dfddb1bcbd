"""UrbanSound8K (Salamon et al. 2014, urbansounddataset.weebly.com): 8732 clips of ten city sounds (CC BY-NC 3.0)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_layout
from speechssl.data.corpora.listed import listed_entries, read_csv

_TABLE = "metadata/UrbanSound8K.csv"


def urbansound8k(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `class`, `fold` (1 to 10), `salience` and `source`; no splits.

    The authors ask for means over their ten folds. `salience` is 1 for a sound in the foreground, 2 in the background.
    `source` is the recording of Freesound that a clip was cut from.
    """
    hint = (
        "the unpacked folder UrbanSound8K of https://urbansounddataset.weebly.com/urbansound8k.html, "
        "with audio and metadata in it"
    )
    root = require_layout(settings, hint, [_TABLE, "audio"])
    return Corpus(
        root, ("class", "fold", "salience", "source"), lambda: listed_entries(root, ["audio"], _listed(root), _TABLE)
    )


def _listed(root: Path) -> Iterator[Entry]:
    for row in read_csv(root / _TABLE, ["slice_file_name", "fsID", "salience", "fold", "class"]):
        labels = {
            "class": row["class"],
            "fold": row["fold"],
            "salience": row["salience"],
            "source": row["fsID"],
        }
        yield Entry(f"audio/fold{row['fold']}/{row['slice_file_name']}", labels)
