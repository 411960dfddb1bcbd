"""What a command is, and how one is left out when its result is there already."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechssl import __version__
from speechssl.errors import UserError, nearest
from speechssl.files import changes, checksum, write_json
from speechssl.memory import keep_freed_memory
from speechssl.settings import IN_NO_RESULT

Finish = Callable[[], None]
"""What is left to do once a result counts as done: to take away kept work, and to print."""


def no_files(settings: Any) -> Iterable[Path]:
    """For a command whose inputs or outputs are not files of a stage."""
    return ()


@dataclass(frozen=True)
class Command:
    """One subcommand of `speechssl`."""

    name: str
    """What the user types; `configs/<name>.yaml` holds its defaults, unless `config` names another file."""
    summary: str
    """One sentence for `--help`."""
    settings: type
    """The dataclass of its settings, a docstring a field; `__post_init__` raises `UserError` on contradictions."""
    run: Callable[[Any], Finish | None]
    """Does the work."""
    examples: tuple[str, ...]
    """Command lines for `--help`, without the leading `speechssl NAME`."""
    inputs: Callable[[Any], Iterable[Path]] = no_files
    """Files whose content decides whether a finished result is still current."""
    outputs: Callable[[Any], Iterable[Path]] = no_files
    """Files that the command makes, and folders with nothing else in them. With none, the command always runs."""
    refresh: Callable[[Any], None] = lambda settings: None
    """Makes files that other commands write, too, current again, where this one is left out."""
    rows: Callable[[Any], Mapping[str, Any]] = lambda settings: {}
    """Row of a table -> what it is of, where a command keeps the rows of others that it does not make anew."""
    may_differ: Collection[str] = IN_NO_RESULT
    """Settings that change no result, or only which rows there are."""
    audio: Callable[[Any], Iterable[Path]] = no_files
    """Recordings that decide whether a result is current, by their size and time of change: reading all takes long."""
    keeps_memory: bool = False
    """Whether freed memory is kept for the next batch: convolutions are faster (:mod:`speechssl.memory`)."""
    config: str = ""
    """Name of its file in `configs/`, where that is not `name`."""
    choice: str = ""
    """What the user chooses one of the `variants` by, e.g. `benchmark`."""
    variants: Mapping[str, Command] = field(default_factory=dict)
    """Commands with settings of their own under the same name, by the value of `choice`; without one it is this."""

    @property
    def config_name(self) -> str:
        """The file of its defaults in `configs/`, without ending."""
        return self.config or self.name

    def chosen(self, arguments: Sequence[str]) -> tuple[Command, list[str]]:
        """Return the variant that `choice=VALUE` among the arguments names, and the other arguments.

        Raises:
            UserError: no variant has that name; the nearest is offered.
        """
        if not self.variants:
            return self, list(arguments)
        prefix = f"{self.choice}="
        values = [argument.removeprefix(prefix) for argument in arguments if argument.startswith(prefix)]
        others = [argument for argument in arguments if not argument.startswith(prefix)]
        if not values:
            return dataclasses.replace(self, variants={}), others
        if values[-1] not in self.variants:
            raise UserError(
                f"no {self.choice} named '{values[-1]}'{nearest(values[-1], self.variants)} "
                f"(known: {', '.join(self.variants)})"
            )
        return self.variants[values[-1]], others

    def run_unless_done(self, settings: Any) -> None:
        """Run the command, or say that its outputs are there and nothing has changed since they were made.

        Whatever becomes of this command, a result that is there counts until it is replaced.
        """
        outputs = list(self.outputs(settings))
        if not outputs:
            if finish := self._run(settings):
                finish()
            return
        stamp = outputs[0].parent / f".{self.name}.done"
        fingerprint = self._fingerprint(settings)
        finished = _finished(stamp, outputs)
        if fingerprint in finished:
            self.refresh(settings)
            print(f"{self.name}: done before and unchanged: {outputs[0]}")
            return
        finish = self._run(settings)
        # Below torchrun the first process writes the outputs, and may be the last to end.
        if os.environ.get("RANK", "0") == "0":
            kept = [other for other in finished if _is_kept(other, fingerprint)]
            # What is there now may be more than what was: of an export, the files of its targets.
            state = _state(self.outputs(settings), stamp.parent)
            write_json(stamp, {"outputs": state, "finished": [fingerprint, *kept]})
            if finish:
                finish()

    def _run(self, settings: Any) -> Finish | None:
        if self.keeps_memory:
            keep_freed_memory()
        return self.run(settings)

    def _fingerprint(self, settings: Any) -> dict[str, Any]:
        decisive = {name: value for name, value in dataclasses.asdict(settings).items() if name not in self.may_differ}
        text = json.dumps(decisive, sort_keys=True, default=str)
        fingerprint: dict[str, Any] = {
            "speechssl": __version__,
            "settings": hashlib.sha256(text.encode()).hexdigest(),
            "rows": dict(self.rows(settings)),
        }
        for path in self.inputs(settings):
            fingerprint[str(path)] = checksum(path) if path.is_file() else "missing"
        if self.audio is not no_files:
            fingerprint["audio"] = changes(self.audio(settings))
        return fingerprint


def _finished(stamp: Path, outputs: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the fingerprints of the commands whose results stand; none where an output is gone or was changed."""
    try:
        recorded = json.loads(stamp.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return []
    found: list[dict[str, Any]] = recorded.get("finished", [])  # an earlier version kept one, and nothing of outputs
    stands = all(path.exists() for path in outputs) and recorded.get("outputs") == _state(outputs, stamp.parent)
    return found if stands else []


def _state(outputs: Iterable[Path], folder: Path) -> dict[str, list[int]]:
    """Return size and time of change of each file, by its path from a folder, which may be moved with all it has."""
    stats = {os.path.relpath(file, folder): file.stat() for path in outputs for file in _files(path)}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _files(path: Path) -> Iterable[Path]:
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def _is_kept(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether what an earlier command finished still stands, now that this one's rows stand beside its own.

    Rows that both have are the same, made anew. Where all of them were, nothing says so of the baselines.
    """
    rows, new = earlier["rows"], now["rows"]
    alike = all(earlier[key] == now[key] for key in (earlier.keys() & now.keys()) - {"rows"})
    return alike and not rows.keys() <= new.keys() and all(rows[name] == new[name] for name in rows.keys() & new.keys())
