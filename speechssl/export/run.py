"""`speechssl export`: write an encoder for another toolkit, and check it there against our own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechssl.errors import UserError, nearest
from speechssl.export import check, huggingface, own, s3prl
from speechssl.files import read_json, write_json
from speechssl.models.checksum import weights_checksum
from speechssl.models.clip_encoder import ClipEncoder
from speechssl.models.hubert import HubertEncoder
from speechssl.models.load import encoder_files, load_encoder, load_heads

logger = logging.getLogger(__name__)

# Of an encoder that the format can hold, as `check.why_not` says.
Writer = Callable[[Any, "dict[str, Tensor] | None", Path], None]
Reader = Callable[[Path, "list[Tensor]"], "list[list[Tensor]]"]
Note = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """A format to export to."""

    write: Writer
    """Writes the export into a folder."""
    hidden_states: Reader
    """Loads it with the other toolkit's own code and returns the hidden states of each of some waveforms."""
    files: Callable[[Path], list[Path]]
    """What is written into the folder."""
    toolkit: Callable[[], object] | None = None
    """Imports what the check needs of the other toolkit; none for a format of our own."""
    extra: str = ""
    """The extra of this package that installs the other toolkit."""


TARGETS = {
    own.NAME: Target(own.write, own.hidden_states, own.files),
    s3prl.NAME: Target(s3prl.write, s3prl.hidden_states, s3prl.files, s3prl.toolkit, "superb"),
    huggingface.NAME: Target(
        huggingface.write, huggingface.hidden_states, huggingface.files, huggingface.toolkit, "export"
    ),
}


@dataclass
class ExportSettings:
    """`speechssl export`."""

    encoder: str = "???"
    """What to export: a run folder, an encoder folder, or anything else that `speechssl.load_encoder` takes."""
    out: str = "???"
    """Folder of the exports: `speechssl/`, `s3prl/model.pt`, `huggingface/` and `check.json` are made in it."""
    target: str = "all"
    """`s3prl` (for its `-u hubert_local -k model.pt`), `huggingface` (a `HubertModel` folder), `speechssl` (an encoder
    folder), or `all` of them that can hold this encoder and be checked here; what is left out is said."""
    audio: str = ""
    """Audio to compare hidden states on: a file, or a manifest (`.tsv`); by default a generated sound."""

    def __post_init__(self) -> None:
        known = ["all", *TARGETS]
        if self.target not in known:
            raise UserError(f"no target '{self.target}'{nearest(self.target, known)} (known: {', '.join(known)})")


def run_export(settings: ExportSettings) -> None:
    """Write and check each target; `check.json` has the differences. An export that fails its check is removed."""
    _require_another_place(settings)
    encoder = load_encoder(settings.encoder)
    assert isinstance(encoder, (HubertEncoder, ClipEncoder))
    waveforms = check.check_audio(settings.audio, encoder.min_samples if isinstance(encoder, HubertEncoder) else 1)
    left_out = {name: _why_not(name, encoder, settings.encoder) for name in _names(settings)}
    notes = _read_notes(settings)
    _require_own_files([name for name, note in left_out.items() if note is None], notes, settings)
    weights = weights_checksum(encoder)
    for name, note in left_out.items():
        if note is None:
            # Noted before anything is written, so that a killed command leaves nothing that looks checked.
            notes[name] = {"unfinished": True, "weights": weights}
            _write_notes(notes, settings)
            notes[name] = {"largest_difference": _export(name, encoder, settings, waveforms), "weights": weights}
        elif settings.target == "all":
            if _is_made(notes, name):
                _remove(name, settings)
            notes[name] = note
            logger.info("%s: left out: %s", name, note["left_out"])
        else:
            raise UserError(note["left_out"])
        _write_notes(notes, settings)


def _export(
    name: str, encoder: HubertEncoder | ClipEncoder, settings: ExportSettings, waveforms: list[Tensor]
) -> float:
    """Write one target and return its largest difference to our encoder; what fails is removed, with its note."""
    folder = Path(settings.out) / name
    _remove(name, settings)
    try:
        heads = load_heads(settings.encoder)
        TARGETS[name].write(encoder, heads[0] if heads else None, folder)
        difference = _check(name, encoder, folder, waveforms)
    except BaseException:
        _remove(name, settings)
        _write_notes({other: note for other, note in _read_notes(settings).items() if other != name}, settings)
        raise
    logger.info("%s: %s, largest difference to our encoder %.1e", name, folder, difference)
    return difference


def _why_not(name: str, encoder: HubertEncoder | ClipEncoder, source: str) -> Note | None:
    """Return the note of a target that cannot hold the encoder, or cannot be checked here; `None` where it can."""
    target = TARGETS[name]
    if target.toolkit is None:
        return None
    reason = check.why_not(encoder, source, name)
    if reason is not None:
        return {"left_out": reason}
    try:
        target.toolkit()
    except ModuleNotFoundError as error:
        reason = (
            f"the package '{error.name}' is not installed, so the export cannot be checked: "
            f"pip install -e '.[{target.extra}]' in the project's folder"
        )
        return {"left_out": reason, "lacks": error.name}
    return None


def _require_another_place(settings: ExportSettings) -> None:
    """Raise a `UserError` where an export would be written over the encoder that it is made from."""
    read = {path.resolve() for path in encoder_files(settings.encoder)}
    for name in _names(settings):
        if any(path.resolve() in read for path in _files(name, settings)):
            raise UserError(f"out={settings.out}: its {name}/ holds the encoder itself; give another folder")


def _require_own_files(names: Iterable[str], notes: dict[str, Note], settings: ExportSettings) -> None:
    """Raise a `UserError` where an export would be written over a file that no export made."""
    for name in names:
        found = next((path for path in _files(name, settings) if path.exists()), None)
        if found and not _is_made(notes, name):
            raise UserError(
                f"{found} is not of an export, as {_check_file(settings)} tells; move it, or set another out"
            )


def _is_made(notes: dict[str, Note], name: str) -> bool:
    """Return whether the files of a target are of an export, finished or not."""
    return name in notes and "left_out" not in notes[name]


def _remove(name: str, settings: ExportSettings) -> None:
    for path in _files(name, settings):
        path.unlink(missing_ok=True)


def _files(name: str, settings: ExportSettings) -> list[Path]:
    return TARGETS[name].files(Path(settings.out) / name)


def _read_notes(settings: ExportSettings) -> dict[str, Note]:
    """Return what `check.json` says of each target, also of those that are not made now."""
    file = _check_file(settings)
    notes: dict[str, Note] = read_json(file) if file.is_file() else {}
    return notes


def _write_notes(notes: dict[str, Note], settings: ExportSettings) -> None:
    if notes:
        write_json(_check_file(settings), notes)
    else:
        _check_file(settings).unlink(missing_ok=True)


def export_inputs(settings: ExportSettings) -> Iterable[Path]:
    """Return the files of the encoder and of the check: when they change, the export is made again."""
    return [*encoder_files(settings.encoder), *([Path(settings.audio)] if settings.audio else [])]


def export_outputs(settings: ExportSettings) -> Iterable[Path]:
    """Return the files that the command made, or is going to make: also those that only lack a package."""
    notes = _read_notes(settings)
    names = [name for name in _names(settings) if _is_made(notes, name) or "lacks" in notes.get(name, {})]
    return [_check_file(settings), *(path for name in names for path in _files(name, settings))]


def _check_file(settings: ExportSettings) -> Path:
    return Path(settings.out) / "check.json"


def _names(settings: ExportSettings) -> list[str]:
    return list(TARGETS) if settings.target == "all" else [settings.target]


def _check(name: str, encoder: HubertEncoder | ClipEncoder, folder: Path, waveforms: list[Tensor]) -> float:
    """Return the largest difference of hidden states; one above the tolerance is a `UserError`."""
    exported = TARGETS[name].hidden_states(folder, waveforms)
    largest = 0.0
    for waveform, theirs in zip(waveforms, exported, strict=True):
        with torch.no_grad():
            ours = encoder(waveform[None]).hidden_states
        difference, close = check.compare(ours, theirs)
        largest = max(largest, difference)
        if not close:
            raise UserError(
                f"the {name} export gives other hidden states than our encoder (largest difference {difference:.1e}): "
                "it was removed; report this with the versions that `speechssl doctor` prints"
            )
    return largest
