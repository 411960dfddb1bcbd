"""QUESST 2014 for QbE: its English queries and documents, as in SUPERB."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from speechssl.errors import UserError
from speechssl.evaluation.superb.corpora.layout import CorpusTask, Need, Parts, Place
from speechssl.evaluation.superb.data import Row, Unsearched
from speechssl.files import read_lines

_URL = "https://speech.fit.vutbr.cz/files/quesst14Database.tgz"
_LANGUAGE = "nnenglish"
_DOCUMENTS = "utterances"
_SETS = {"valid": "dev", "test": "eval"}


def _rows(place: Place) -> Parts:
    """Return the English queries of each part, and the English documents, which are the same in both."""
    parts: dict[str, list[Row]] = {}
    for part, name in _SETS.items():
        for kind, listed in (("queries", name), ("documents", _DOCUMENTS)):
            entries = _listed(place.root, listed)
            parts[f"{part}_{kind}"] = [
                {"id": path.stem, "path": str(path)} for path, language in entries if language == _LANGUAGE
            ]
    return parts


def _matches(place: Place, parts: Parts) -> Parts:
    """Return `query` and `document` of each match of an English query."""
    found = {}
    for part, name in _SETS.items():
        english = {row["id"] for row in parts[f"{part}_queries"]}
        found[part] = [
            {"query": query, "document": document} for query, document in _truth(place.root, name) if query in english
        ]
        if not found[part]:
            raise UserError(f"{_truth_file(place.root, name)} has no match of an English query; get it again")
    return found


def _unsearched(place: Place) -> Mapping[str, Unsearched]:
    """Return how many queries (with matches) and documents of other languages each part has."""
    documents = sum(language != _LANGUAGE for _, language in _listed(place.root, _DOCUMENTS))
    found = {}
    for part, name in _SETS.items():
        english = {path.stem for path, language in _listed(place.root, name) if language == _LANGUAGE}
        queries = {query for query, _ in _truth(place.root, name)} - english
        found[part] = Unsearched(len(queries), documents)
    return found


def _listed(root: Path, name: str) -> Iterator[tuple[Path, str]]:
    """Yield path and language of each line of `language_key_<name>.lst`; its paths begin with the corpus's folder."""
    file = root / f"scoring/language_key_{name}.lst"
    for number, line in enumerate(read_lines(file), start=1):
        try:
            path, language = line.split()
        except ValueError as error:
            raise UserError(f"{file} line {number} is not `path language`; get it again") from error
        yield root.joinpath(*Path(path).parts[1:]), language


def _truth_file(root: Path, name: str) -> Path:
    return root / f"scoring/groundtruth_quesst14_{name}/quesst14_{name}.rttm"


def _truth(root: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield query and document of each match: `LEXEME document channel start duration query ...` in NIST's format."""
    file = _truth_file(root, name)
    for number, line in enumerate(read_lines(file), start=1):
        fields = line.split()
        if fields[:1] != ["LEXEME"]:
            continue
        if len(fields) < 6:
            raise UserError(f"{file} line {number} is cut off; get it again")
        if fields[5] != "NO_KEYWORD":
            yield fields[5], fields[1]


QBE = CorpusTask(
    "QUESST 2014",
    ("quesst14Database",),
    (
        *(Need((f"scoring/language_key_{name}.lst",), _URL) for name in (_DOCUMENTS, *_SETS.values())),
        *(Need((str(_truth_file(Path(), name)),), _URL) for name in _SETS.values()),
        *(Need((folder,), _URL) for folder in ("Audio", "dev_queries", "eval_queries")),
    ),
    _rows,
    beside=_matches,
    unsearched=_unsearched,
)
