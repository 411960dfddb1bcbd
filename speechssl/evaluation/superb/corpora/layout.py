"""Where a corpus lies on the disk, what a task needs of it, and what of that is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from speechssl.errors import UserError
from speechssl.evaluation.superb.data import Row, Unsearched

FOLDS = "folds"
"""The one part of a corpus whose values of the column `fold` are tested in turn."""

Parts = Mapping[str, Sequence[Row]]
"""The rows of `train`, `valid` and `test`, or all of them in `FOLDS`."""


@dataclass(frozen=True)
class Place:
    """A corpus on this disk."""

    root: Path
    """Its folder, absolute."""
    lexicon: tuple[str, ...] = ()
    """Files of pronunciations that were given beside it. Of phone recognition only."""


@dataclass(frozen=True)
class Need:
    """A file or folder that a task reads."""

    names: tuple[str, ...]
    """Where it may be, from the corpus's folder. The first that is there is read."""
    url: str
    """Where to get it."""
    lexicon: bool = False
    """Whether it need not be there where a lexicon is given."""

    def find(self, root: Path) -> Path | None:
        """Return where it is, `None` where it is missing."""
        return next((root / name for name in self.names if (root / name).exists()), None)

    def require(self, root: Path) -> Path:
        """Return where it is.

        Raises:
            UserError: it is missing.
        """
        path = self.find(root)
        if path is None:
            raise UserError(f"{self.expected(root)} is missing; get it from {self.url}")
        return path

    def expected(self, root: Path) -> str:
        """Return the place where it is expected, and other names that it may have."""
        others = f" (or {', '.join(self.names[1:])})" if len(self.names) > 1 else ""
        return f"{root / self.names[0]}{others}"


@dataclass(frozen=True)
class CorpusTask:
    """The corpus of one task."""

    title: str
    """Its name."""
    folders: tuple[str, ...]
    """Names that its own folder has where `corpus_dir` holds several corpora."""
    needs: tuple[Need, ...]
    rows: Callable[[Place], Parts]
    """Reads its lists, all needs being there."""
    columns: tuple[str, ...] | None = None
    """Its label columns, where they are not those of the task."""
    metadata: tuple[str, ...] = ()
    """Columns of its rows that are no labels; empty where the corpus does not tell."""
    beside: Callable[[Place, Parts], Parts] | None = None
    """Reads what parts have beside their rows: trials, who speaks when, or matches of queries."""
    optional: tuple[str, ...] = ()
    """Files that are read where they are there."""
    labels: tuple[str, ...] = ()
    """Patterns of its many small files of labels, which lie in folders that it needs."""
    unsearched: Callable[[Place], Mapping[str, Unsearched]] | None = None
    """Counts what the official scoring has more of than each part of a search."""

    def place(self, corpus_dir: str, lexicon: Sequence[str] = ()) -> Place:
        """Return the folder with the most of what is needed: `corpus_dir` itself, or one of `folders` in it.

        Where neither has any of it, that is the place where the corpus is expected. The folder is absolute, so all
        paths in rows are.

        Raises:
            UserError: `corpus_dir` is no folder.
        """
        above = Path(corpus_dir).expanduser().absolute()
        if not above.is_dir():
            raise UserError(f"corpus_dir={corpus_dir} is not a folder; give that of {self.title}, or the one above it")
        places = [Place(above / name, tuple(lexicon)) for name in self.folders if (above / name).is_dir()]
        best = min([*places, Place(above, tuple(lexicon))], key=lambda place: len(self.missing(place)))
        own = best.root != above or above.name in self.folders
        return best if own or not self.lacks_all(best) else replace(best, root=above / self.folders[0])

    def missing(self, place: Place) -> list[Need]:
        """Return what is not there."""
        wanted = [need for need in self.needs if not (need.lexicon and place.lexicon)]
        return [need for need in wanted if need.find(place.root) is None]

    def lacks_all(self, place: Place) -> bool:
        """Return whether nothing is there."""
        return all(need.find(place.root) is None for need in self.needs)

    def require(self, task: str, place: Place) -> None:
        """Raise a `UserError` that says what is missing and where to get it."""
        missing = self.missing(place)
        if missing:
            first = missing[0]
            what = f"{first.expected(place.root)} is missing; get it from {first.url}"
            more = f"; {len(missing) - 1} more things are missing, check=true lists them" if len(missing) > 1 else ""
            raise UserError(f"task={task} needs {self.title}: {what}{more}")

    def read_beside(self, place: Place, parts: Parts) -> Parts:
        """Return what the parts have beside their rows: nothing in most corpora."""
        return self.beside(place, parts) if self.beside else {}

    def files(self, place: Place) -> list[Path]:
        """Return the lists and other files, but for audio, that decide the rows."""
        found = [need.find(place.root) for need in self.needs] + [place.root / name for name in self.optional]
        single = [path for path in found if path is not None and path.is_file()]
        many = [path for pattern in self.labels for path in sorted(place.root.glob(pattern))]
        return single + many + [Path(name) for name in place.lexicon]
