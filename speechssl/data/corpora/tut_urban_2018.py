"""TUT Urban Acoustic Scenes 2018 (arXiv 1807.09840), development set: 8640 clips of 10 s, ten scenes in six cities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_layout
from speechssl.data.corpora.listed import listed_entries
from speechssl.data.tables import read_table
from speechssl.errors import UserError
from speechssl.files import read_lines

_TABLE = "meta.csv"
_FOLDS = {"train": "evaluation_setup/fold1_train.txt", "test": "evaluation_setup/fold1_evaluate.txt"}


def tut_urban_2018(settings: CorpusSettings) -> Corpus:
    """Return the corpus: labels `scene`, `city` and `location`; splits train and test of the only official fold.

    Clips of one location, e.g. `barcelona-0`, are pieces of one recording, and are all train or all test.
    """
    hint = (
        "the unpacked folder TUT-urban-acoustic-scenes-2018-development of https://zenodo.org/record/1228142, "
        "with audio, evaluation_setup and meta.csv in it"
    )
    root = require_layout(settings, hint, [_TABLE, "audio", *_FOLDS.values()])
    return Corpus(root, ("scene", "city", "location"), lambda: listed_entries(root, ["audio"], _listed(root), _TABLE))


def _listed(root: Path) -> Iterator[Entry]:
    splits = {path: split for split, name in _FOLDS.items() for path in _read_fold(root / name)}
    for row in read_table(root / _TABLE, ["filename", "scene_label"]):
        path = row["filename"]
        # Names are scene, city, location, segment and device, e.g. audio/airport-barcelona-0-12-a.wav.
        parts = Path(path).stem.split("-")
        if len(parts) != 5:
            raise UserError(f"{root / _TABLE}: {path} is not named <scene>-<city>-<location>-<segment>-<device>.wav")
        labels = {"scene": row["scene_label"], "city": parts[1], "location": f"{parts[1]}-{parts[2]}"}
        split = splits.pop(path, "")
        yield Entry(path, labels, split, "" if split else "in no list of evaluation_setup")
    for path, split in splits.items():
        yield Entry(path, split=split, rejected=f"in a list of evaluation_setup, but not in {_TABLE}")


def _read_fold(path: Path) -> Iterator[str]:
    """Yield the recordings of a list without header: path, tab, scene."""
    for line in read_lines(path):
        if line.strip():
            yield line.split("\t")[0].strip()
