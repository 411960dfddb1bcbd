"""What a command is, and how one is left out when its result is there already."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechssl import __version__
from speechssl.errors import UserError, nearest
from speechssl.files import changes, checksum, write_json
from speechssl.memory import keep_freed_memory


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
    run: Callable[[Any], None]
    """Does the work."""
    examples: tuple[str, ...]
    """Command lines for `--help`, without the leading `speechssl NAME`."""
    inputs: Callable[[Any], Iterable[Path]] = no_files
    """Files whose content decides whether a finished result is still current."""
    outputs: Callable[[Any], Iterable[Path]] = no_files
    """Files that the command makes. With none, the command always runs."""
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
        """Run the command, or say that its outputs are there and nothing has changed since they were made."""
        outputs = list(self.outputs(settings))
        if not outputs:
            self._run(settings)
            return
        stamp = outputs[0].parent / f".{self.name}.done"
        fingerprint = self._fingerprint(settings)
        if all(path.exists() for path in outputs) and _recorded(stamp) == fingerprint:
            print(f"{self.name}: done before and unchanged: {outputs[0]}")
            return
        stamp.unlink(missing_ok=True)
        self._run(settings)
        # Below torchrun the first process writes the outputs, and may be the last to end.
        if os.environ.get("RANK", "0") == "0":
            write_json(stamp, fingerprint)

    def _run(self, settings: Any) -> None:
        if self.keeps_memory:
            keep_freed_memory()
        self.run(settings)

    def _fingerprint(self, settings: Any) -> dict[str, str]:
        text = json.dumps(dataclasses.asdict(settings), sort_keys=True, default=str)
        fingerprint = {"speechssl": __version__, "settings": hashlib.sha256(text.encode()).hexdigest()}
        for path in self.inputs(settings):
            fingerprint[str(path)] = checksum(path) if path.is_file() else "missing"
        if self.audio is not no_files:
            fingerprint["audio"] = changes(self.audio(settings))
        return fingerprint


def _recorded(stamp: Path) -> Any:
    """Return the fingerprint of the last run, `None` where there is none.

    Below torchrun another process may take the stamp away between a look and a read.
    """
    try:
        return json.loads(stamp.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
