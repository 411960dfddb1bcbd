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


@dataclass(frozen=True)
class Target:
    """A format to export to."""

    write: Writer
    """Writes the export into a folder."""
    hidden_states: Reader
    """Loads it with the other toolkit's own code and returns the hidden states of each of some waveforms."""
    files: Callable[[Path], list[Path]]
    """What is written into the folder."""
    extra: str
    """The extra of this package that installs the other toolkit."""


TARGETS = {
    own.NAME: Target(own.write, own.hidden_states, own.files, "train"),
    s3prl.NAME: Target(s3prl.write, s3prl.hidden_states, s3prl.files, "superb"),
    huggingface.NAME: Target(huggingface.write, huggingface.hidden_states, huggingface.files, "export"),
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
    folder), or `all` of them that can hold this encoder; what is left out is said."""
    audio: str = ""
    """Audio to compare hidden states on: a file, or a manifest (`.tsv`); by default a generated sound."""

    def __post_init__(self) -> None:
        known = ["all", *TARGETS]
        if self.target not in known:
            raise UserError(f"no target '{self.target}'{nearest(self.target, known)} (known: {', '.join(known)})")


def run_export(settings: ExportSettings) -> None:
    """Write and check each target; `check.json` has the differences. An export that fails its check is removed."""
    _require_other_folders(settings)
    encoder = load_encoder(settings.encoder)
    assert isinstance(encoder, (HubertEncoder, ClipEncoder))
    waveforms = check.check_audio(settings.audio, encoder.min_samples if isinstance(encoder, HubertEncoder) else 1)
    weights = weights_checksum(encoder)
    results = _others_of(weights, settings)
    for name in _names(settings):
        reason = check.why_not(encoder, settings.encoder, name) if name != own.NAME else None
        if reason is None:
            results[name] = {"largest_difference": _export(name, encoder, settings, waveforms), "weights": weights}
        elif settings.target == "all":
            results[name] = {"left_out": reason}
            _remove(name, settings)  # of another encoder
            logger.info("%s: left out: %s", name, reason)
        else:
            raise UserError(reason)
    write_json(_check_file(settings), results)


def _export(
    name: str, encoder: HubertEncoder | ClipEncoder, settings: ExportSettings, waveforms: list[Tensor]
) -> float:
    """Write one target and return its largest difference to our encoder."""
    heads = load_heads(settings.encoder)
    folder = Path(settings.out) / name
    TARGETS[name].write(encoder, heads[0] if heads else None, folder)
    try:
        difference = _check(name, encoder, folder, waveforms)
    except BaseException:
        _remove(name, settings)
        raise
    logger.info("%s: %s, largest difference to our encoder %.1e", name, folder, difference)
    return difference


def _remove(name: str, settings: ExportSettings) -> None:
    for path in TARGETS[name].files(Path(settings.out) / name):
        path.unlink(missing_ok=True)


def _require_other_folders(settings: ExportSettings) -> None:
    """Raise a `UserError` where an export would be written over the encoder that it is made from."""
    source = Path(settings.encoder)
    own = {folder.resolve() for folder in (source, source / "encoder")}
    for name in _names(settings):
        if (Path(settings.out) / name).resolve() in own:
            raise UserError(f"out={settings.out}: its {name}/ holds the encoder itself; give another folder")


def _others_of(weights: str, settings: ExportSettings) -> dict[str, dict[str, float | str]]:
    """Return what was noted of the targets that are not made now, of the same encoder."""
    file = _check_file(settings)
    earlier: dict[str, dict[str, float | str]] = read_json(file) if file.is_file() else {}
    others = set(earlier) - set(_names(settings))
    return {name: earlier[name] for name in TARGETS if name in others and earlier[name].get("weights") == weights}


def export_inputs(settings: ExportSettings) -> Iterable[Path]:
    """Return the files of the encoder and of the check: when they change, the export is made again."""
    return [*encoder_files(settings.encoder), *([Path(settings.audio)] if settings.audio else [])]


def export_outputs(settings: ExportSettings) -> Iterable[Path]:
    """Return the files that the command made, or the check that it is going to make."""
    file = _check_file(settings)
    results = read_json(file) if file.is_file() else {}
    made = [name for name in _names(settings) if "largest_difference" in results.get(name, {})]
    return [file, *(path for name in made for path in TARGETS[name].files(Path(settings.out) / name))]


def _check_file(settings: ExportSettings) -> Path:
    return Path(settings.out) / "check.json"


def _names(settings: ExportSettings) -> list[str]:
    return list(TARGETS) if settings.target == "all" else [settings.target]


def _check(name: str, encoder: HubertEncoder | ClipEncoder, folder: Path, waveforms: list[Tensor]) -> float:
    """Return the largest difference of hidden states; one above the tolerance is a `UserError`."""
    try:
        exported = TARGETS[name].hidden_states(folder, waveforms)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the package '{error.name}' is not installed, so the export cannot be checked: "
            f"pip install -e '.[{TARGETS[name].extra}]' in the project's folder"
        ) from error
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
