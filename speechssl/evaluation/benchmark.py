"""What the results of the benchmarks have in common."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechssl import __version__
from speechssl.errors import UserError
from speechssl.evaluation.encoders.contestants import FBANK, RANDOM, Contestant
from speechssl.evaluation.encoders.sources import encoder_identity, load_source
from speechssl.files import as_name, read_json
from speechssl.locks import BusyError, alone
from speechssl.models.encoder import Encoder
from speechssl.settings import IN_NO_RESULT, differences

MAY_DIFFER = IN_NO_RESULT | {"encoders", "baselines", "out_dir", "device", "batch_seconds", "check"}
"""Settings of a command that change no number of another encoder's row."""
_RESULTS = {"speechssl", "settings", "task", "encoders", "scores"}
"""What the results of a task have."""


class EncoderScores:
    """The encoders of one task, and their scores.

    Args:
        benchmark: name of the benchmark.
        settings: of the command, a dataclass.
    """

    def __init__(self, benchmark: str, settings: Any) -> None:
        self._benchmark = benchmark
        self._settings = settings
        self._started = time.monotonic()
        self._encoders: dict[str, dict[str, Any]] = {}
        self.scores: dict[str, list[dict[str, Any]]] = {}
        """Row -> a list with one score a source, seed ..."""

    def join(self, file: Path, task: Mapping[str, Any], rivals: Sequence[Contestant]) -> list[str]:
        """Keep the rows of an earlier command that this one does not measure anew; return their names.

        Args:
            file: the `results.json` that this command is going to replace.
            task: what it will say of the task.
            rivals: the encoders of this command.

        Raises:
            UserError: the file has no results, or there are such rows, and they cannot stand beside this command's:
                measured with other settings, on other data, beside other encoders of the same names, or with weights
                that are no longer there under their names.
        """
        if not file.is_file():
            return []
        earlier = read_json(file)
        if not isinstance(earlier, dict) or not earlier.keys() >= _RESULTS:
            raise UserError(f"{file} has no results of {self._benchmark}: take it away, or give another out_dir")
        names = {rival.name for rival in rivals}
        # Where a row does not say by which version it was measured, all are of the file's.
        measured = [{"speechssl": earlier["speechssl"], **row} for row in earlier["encoders"]]
        rows = {row["name"]: row for row in measured if row["name"] not in names}
        if not rows:
            return []
        told = f"{file} has {', '.join(rows)} of an earlier command"
        if changed := self._changed(earlier, task):
            raise UserError(
                f"{told}, and these cannot stand in one table with this one's, since {', '.join(changed)} changed: "
                "give another out_dir, or name these encoders as well"
            )
        for row in earlier["encoders"]:
            if row["name"] in names and not _is_covered(row, [rival for rival in rivals if rival.name == row["name"]]):
                raise UserError(
                    f"{told}, measured beside another {row['name']} than this command's: give another out_dir, "
                    f"or {'other baselines' if row['name'] in (FBANK, RANDOM) else 'another name'}"
                )
        if retrained := _retrained(rows.values()):
            raise UserError(
                f"{told}, and {', '.join(retrained)} has other weights now: give another out_dir, or name "
                "these encoders as well"
            )
        alike = {as_name(name) for name in names} & {as_name(name) for name in rows}
        if alike:
            raise UserError(f"{told}, whose files would have the name of this command's {', '.join(alike)}: rename it")
        self._encoders |= rows
        self.scores |= {name: earlier["scores"][name] for name in rows}
        return list(rows)

    def _changed(self, earlier: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
        """Return what differs from an earlier command and decides its numbers."""
        names = [name for name, _, _ in differences(self._settings, earlier["settings"])]
        changed = [name for name in names if name.partition(".")[0] not in MAY_DIFFER]
        facts, known = _as_read(dict(task)), earlier["task"]
        return changed or (["the data"] if facts != known else [])

    def add(self, rival: Contestant, encoder: Encoder, score: dict[str, Any]) -> None:
        """Note one score of an encoder."""
        facts = {"name": rival.name, "speechssl": __version__, **_facts(encoder), "sources": [], "identities": {}}
        row = self._encoders.setdefault(rival.name, facts)
        if rival.source not in row["sources"]:
            row["sources"].append(rival.source)
            if rival.path is not None:
                row["identities"][rival.source] = encoder_identity(encoder, rival.source)
        self.scores.setdefault(rival.name, []).append({"source": rival.source, **score})

    def to_json(self) -> dict[str, Any]:
        """Return `benchmark`, version, `settings`, `seconds` since the first line, `encoders` and `scores`."""
        return {
            "benchmark": self._benchmark,
            "speechssl": __version__,
            "settings": dataclasses.asdict(self._settings),
            "seconds": round(time.monotonic() - self._started, 1),
            "encoders": list(self._encoders.values()),
            "scores": self.scores,
        }


def writing_alone(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Keep other commands out of a task's results: each reads what is there, and replaces it at its end.

    Raises:
        BusyError: in the block, another command is at work there.
    """
    told = f"another command is at work on the results in {folder}: wait for it, or give another out_dir"
    return alone(folder / ".lock", told)


def take_away(folder: Path, kept: Iterable[Path]) -> None:
    """Remove the files that a command kept in a task's folder to go on from, and folders that are empty then.

    They stay where another command is at work, which may be going on from the same ones.
    """
    with contextlib.suppress(BusyError), writing_alone(folder):
        for file in kept:
            file.unlink(missing_ok=True)
            for parent in itertools.takewhile(lambda parent: parent != folder, file.parents):
                with contextlib.suppress(OSError):  # what another command has kept is in it
                    parent.rmdir()


def sources_of_rows(rivals: Iterable[Contestant]) -> dict[str, list[str]]:
    """Return row -> what its encoders were named by."""
    rows: dict[str, list[str]] = {}
    for rival in rivals:
        rows.setdefault(rival.name, []).append(rival.source)
    return rows


def require_own_folder(folder: Path, benchmark: str | None) -> None:
    """Raise a `UserError` where a folder has the table of another benchmark, which this one's would replace.

    Args:
        folder: of the results.
        benchmark: its name; None for the probes, which name none.
    """
    file = folder / "results.json"
    found = read_json(file) if file.is_file() else {"benchmark": benchmark}
    if not isinstance(found, dict) or found.get("benchmark") != benchmark:
        raise UserError(f"out_dir={folder} has a results.json of something else; give a folder of its own")


def _retrained(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the sources that are not what rows were measured with; one that is gone may be what it was.

    An earlier version did not say what its rows were measured with.
    """
    identities = {source: identity for row in rows for source, identity in row.get("identities", {}).items()}
    return [source for source, identity in identities.items() if _identity_now(source) not in (None, identity)]


def _identity_now(source: str) -> str | None:
    try:
        return encoder_identity(load_source(source), source)
    except (UserError, ImportError, OSError):
        return None


def _as_read(value: dict[str, Any]) -> dict[str, Any]:
    """Return a value as it is when it has been written as JSON and read again."""
    read: dict[str, Any] = json.loads(json.dumps(value))
    return read


def _facts(encoder: Encoder) -> dict[str, Any]:
    return {
        "frame_rate": encoder.frame_rate,
        "dim": encoder.dim,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
    }


def _is_covered(row: Mapping[str, Any], rivals: Sequence[Contestant]) -> bool:
    """Return whether the encoders of an earlier row are among these; new baselines must be built alike, too."""
    if not set(row["sources"]) <= {rival.source for rival in rivals}:
        return False
    facts = _facts(rivals[0].build()) if row["name"] in (FBANK, RANDOM) else {}
    return all(row[key] == value for key, value in facts.items())
