"""Any folder of recordings, with a table of labels or without."""

from __future__ import annotations

import csv
import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from speechssl.data.alignments import read_alignments
from speechssl.data.corpora.corpus import Corpus, CorpusSettings, Entry, require_folder
from speechssl.data.corpora.listed import read_csv
from speechssl.data.manifest import leaves_root
from speechssl.data.tables import as_cell, read_header, read_table
from speechssl.data.walk import AUDIO_SUFFIXES, holds_audio, walk_audio
from speechssl.errors import UserError
from speechssl.files import require_file, require_utf8

logger = logging.getLogger(__name__)

_NOT_LABELS = frozenset({"", "path", "split", "dur", "duration", "seconds", "samples"})
"""Columns that are no labels: lengths are always measured anew, and numbers of rows have no name."""

_FOLDER = "folder"
"""Label where no table gives any: the folder that holds the recording, as LAPE takes it."""

_SPLIT_NAME = re.compile(r"\w[\w.-]*")


def folder(settings: CorpusSettings) -> Corpus:
    """Return a corpus of every recording below `audio_dir`.

    Labels come from a table with a column `path` (relative to `audio_dir`): `corpus.metadata`, or `metadata.tsv`,
    `manifest.tsv` or `metadata.csv` in the folder. It has tabs between its cells, or commas where its name ends in
    .csv. A column `split` is honoured: names that begin with `train` are train, with `dev` or
    `valid` valid, any other is a split of its own. Without a table, and where every recording is in a folder below
    `audio_dir`, the name of the one that holds it is the label `folder`. Phone times come from `alignments.tsv` in
    `audio_dir`.
    """
    root = require_folder(settings, "the folder with your audio files")
    table = _find_table(settings, root)
    labels: tuple[str, ...] = ()
    if table is not None:
        labels = tuple(column for column in _columns(table) if column not in _NOT_LABELS)
    elif not holds_audio(root):
        labels = (_FOLDER,)
    return Corpus(root, labels, lambda: _entries(root, table, labels))


def _find_table(settings: CorpusSettings, root: Path) -> Path | None:
    if settings.metadata:
        return Path(settings.metadata).expanduser()
    for name in ("metadata.tsv", "manifest.tsv", "metadata.csv"):
        table = root / name
        if not table.is_file():
            continue
        columns = _columns(table)
        if "path" in columns:
            return table
        # A fairseq manifest may have the same name; its first line is a folder.
        if len(columns) > 1 or not posixpath.isabs("".join(columns)):
            logger.warning(
                "%s has no column 'path' in its first line, so no labels are read from it: call the column with the "
                "names of the files so, or make such a table and name it by corpus.metadata",
                table,
            )
    return None


def _has_commas(table: Path) -> bool:
    return table.suffix.lower() == ".csv"


def _columns(table: Path) -> list[str]:
    if not _has_commas(table):
        return read_header(table)
    with open(require_file(table), encoding="utf-8-sig", errors="replace", newline="") as file, require_utf8(table):
        return next(csv.reader(file), [])


def _entries(root: Path, table: Path | None, labels: tuple[str, ...]) -> Iterator[Entry]:
    rows = _rows(table, labels) if table is not None else {}
    aligned = root / "alignments.tsv"
    phones = read_alignments(aligned) if aligned.is_file() else {}
    alignments = {posixpath.normpath(path): segments for path, segments in phones.items()}
    for path, rejected in walk_audio(root):
        split, *cells = rows.pop(path, "\t" * len(labels)).split("\t")
        alignment = alignments.pop(path, ())
        # Without a table the only label there can be is the folder.
        holder = posixpath.basename(posixpath.dirname(path))
        known = dict(zip(labels, cells, strict=True)) if table else dict.fromkeys(labels, holder)
        yield Entry(path, known, split, rejected, tuple(alignment))
    for path in rows:
        yield Entry(path, rejected=_why_not_found(path, table))
    # In the order of the table: that of a set changes from one process to the next, and with it the list of rejected.
    for path in alignments:
        if path not in rows:
            yield Entry(path, rejected=_why_not_found(path, aligned))


def _rows(table: Path, labels: tuple[str, ...]) -> dict[str, str]:
    """Return split and labels by path, joined by tabs: a fraction of the memory of a dictionary a row."""
    rows: dict[str, str] = {}
    found = read_csv(table, ["path"], "mend it") if _has_commas(table) else read_table(table, ["path"])
    for number, row in enumerate(found, start=2):
        path = posixpath.normpath(row["path"])
        if path in rows:
            raise UserError(f"{table} line {number} names {path} a second time; keep one line a file")
        # In a table with commas a cell may hold tabs.
        cells = (as_cell(row[label]) for label in labels)
        rows[path] = "\t".join([_split_name(row.get("split", ""), table, number), *cells])
    return rows


def _split_name(name: str, table: Path, number: int) -> str:
    lower = name.lower()
    if lower.startswith("train"):
        return "train"
    if lower.startswith(("dev", "val")):
        return "valid"
    if name in ("metadata", "rejected", "alignments"):
        raise UserError(f"{table} line {number}: no split can be named '{name}', a table of the same name is written")
    if name and not _SPLIT_NAME.fullmatch(name):
        raise UserError(f"{table} line {number}: the split '{name}' cannot be a file name; use letters and digits")
    return name


def _why_not_found(path: str, table: Path | None) -> str:
    name = table.name if table else ""
    if posixpath.isabs(path):
        return f"in {name}, but the path is absolute: give it relative to the folder"
    if leaves_root(path):
        return f"in {name}, but the path leaves the folder"
    if posixpath.splitext(path)[1].lower() not in AUDIO_SUFFIXES:
        return f"in {name}, but not one of {' '.join(sorted(AUDIO_SUFFIXES))}"
    return f"in {name}, but there is no such file"
