"""Bird audio detection (arXiv 1608.03417): is there a bird in these 10 s? freefield1010 and warblrb10k (CC BY)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_folder
from speechssl.data.corpora.listed import listed_entries, read_csv
from speechssl.errors import UserError

_TABLES = {"ff1010bird": "ff1010bird_metadata", "warblrb10k": "warblrb10k_public_metadata"}
_ENDINGS = (".csv", "_2018.csv")
"""Tables as published in 2016, and in 2018 with one more column."""


def birdsong(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `hasbird` (0 or 1) and `dataset` (ff1010bird or warblrb10k); no splits.

    The recordings of a table are in a folder `wav` beside it. Both tables may be in `audio_dir`, with one common folder
    `wav`, or each in a folder of its own in `audio_dir`.
    """
    hint = (
        "a folder with the bird detection sets of https://dcase.community/challenge2018/task-bird-audio-detection: "
        "ff1010bird_metadata.csv and warblrb10k_public_metadata.csv (or their _2018.csv), each beside its folder wav, "
        "in this folder or in one of its folders"
    )
    root = require_folder(settings, hint)
    tables = {dataset: _find_table(root, name, hint) for dataset, name in _TABLES.items()}
    folders = sorted({_wav_folder(root, table) for table in tables.values()})
    return Corpus(
        root,
        ("hasbird", "dataset"),
        lambda: listed_entries(root, folders, _listed(root, tables), "the tables of labels"),
    )


def _find_table(root: Path, name: str, hint: str) -> Path:
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        for ending in _ENDINGS:
            if (folder / f"{name}{ending}").is_file() and (folder / "wav").is_dir():
                return folder / f"{name}{ending}"
    raise UserError(f"{root} has no {name}.csv beside a folder wav: corpus.audio_dir of corpus=birdsong must be {hint}")


def _wav_folder(root: Path, table: Path) -> str:
    return (table.parent / "wav").relative_to(root).as_posix()


def _listed(root: Path, tables: dict[str, Path]) -> Iterator[Entry]:
    for dataset, table in tables.items():
        for row in read_csv(table, ["itemid", "hasbird"]):
            name = row["itemid"].removesuffix(".wav")
            yield Entry(f"{_wav_folder(root, table)}/{name}.wav", {"hasbird": row["hasbird"], "dataset": dataset})
