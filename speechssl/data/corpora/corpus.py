"""What a corpus is: a root folder, label columns, and entries in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from speechssl.data.alignments import Segment
from speechssl.errors import UserError


@dataclass
class CorpusSettings:
    """Which corpus, and where it is."""

    name: str = MISSING
    """Name of the corpus: a file of `speechssl/data/corpora`."""
    audio_dir: str = ""
    """Folder of the corpus on this machine. Where it is empty, LibriSpeech and what comes from Debian are downloaded;
    all others need it."""
    downloads: str = "downloads"
    """Folder that downloads, and audio made from a corpus, are kept in."""
    metadata: str = ""
    """`folder` only: table of labels with a column `path`, with tabs, or commas where its name ends in .csv; by default
    metadata.tsv, manifest.tsv or metadata.csv in audio_dir."""
    parts: list[str] = field(default_factory=list)
    """`librispeech` only: parts of the corpus, e.g. train-clean-100."""


@dataclass(frozen=True)
class Entry:
    """One recording of a corpus."""

    path: str
    """Relative to the corpus's root."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """By label column; one without an entry is not known."""
    split: str = ""
    """Where the corpus names one; `train` and nothing are split further where the corpus has no `valid`."""
    rejected: str = ""
    """Why the recording cannot be used, where the corpus itself tells."""
    alignment: tuple[Segment, ...] = ()
    """Phones, where they are known."""


@dataclass(frozen=True)
class Corpus:
    """A corpus on this machine."""

    root: Path
    """Folder that the entries' paths start from."""
    labels: tuple[str, ...]
    """Label columns. `speaker` is the one that keeps voices of train and valid apart."""
    entries: Callable[[], Iterator[Entry]]
    """Gives all entries in an order that is always the same; may be called again."""


def require_folder(settings: CorpusSettings, hint: str) -> Path:
    """Return `audio_dir`, or raise a `UserError` that says where the corpus comes from."""
    if not settings.audio_dir:
        raise UserError(f"corpus={settings.name} needs corpus.audio_dir=FOLDER: {hint}")
    folder = Path(settings.audio_dir).expanduser()
    if not folder.is_dir():
        raise UserError(f"corpus.audio_dir={settings.audio_dir} is not a folder: give {hint}")
    return folder


def require_layout(settings: CorpusSettings, hint: str, parts: Sequence[str]) -> Path:
    """Return `audio_dir` if it has all `parts` (files or folders), or raise a `UserError` as :func:`require_folder`."""
    folder = require_folder(settings, hint)
    missing = [part for part in parts if not (folder / part).exists()]
    if missing:
        raise UserError(f"{folder} has no {missing[0]}: corpus.audio_dir of corpus={settings.name} must be {hint}")
    return folder
