"""The manifest stage: a corpus becomes manifests, metadata, alignments and a list of what cannot be used."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from omegaconf import MISSING

from speechssl.audio import SAMPLE_RATE, AudioError
from speechssl.audio.inspection import inspect_audio
from speechssl.data.alignments import COLUMNS as ALIGNMENT_COLUMNS
from speechssl.data.corpora import Corpus, CorpusSettings, Entry, open_corpus
from speechssl.data.fingerprint import fingerprint_of
from speechssl.data.manifest import AUDIO, leaves_root
from speechssl.data.metadata import FIXED_COLUMNS, METADATA
from speechssl.data.splits import Pool, SplitRule, keep_all
from speechssl.data.tables import table_writer
from speechssl.errors import UserError
from speechssl.files import read_json, write_json
from speechssl.limits import named, require
from speechssl.progress import progress
from speechssl.settings import read_where_set
from speechssl.threads import available_cores, in_order

_BREAKS = frozenset("\t\n\r")
"""Characters that a name in a manifest cannot hold."""


@dataclass
class ManifestSettings:
    """Settings of `speechssl manifest`."""

    corpus: CorpusSettings = field(default_factory=CorpusSettings)
    """Which corpus, and where it is."""
    out: str = MISSING
    """Folder that the manifests are written to."""
    min_seconds: float = 0.1
    """Shorter recordings are rejected: less than five frames of HuBERT. This project's choice."""
    valid_fraction: float = 0.05
    """Part of the training audio that is held out as valid where the corpus has no valid split; 0 holds out nothing."""
    valid_hours: float = field(default=10.0, metadata=read_where_set("valid_fraction"))
    """About so many hours are held out of a large corpus at most, whatever `valid_fraction` says: a validation takes
    them all."""
    min_speakers: int = field(default=10, metadata=read_where_set("valid_fraction"))
    """With at least so many speakers whole speakers are held out, with fewer single recordings."""
    seed: int = field(default=0, metadata=read_where_set("valid_fraction"))
    """Decides what is held out."""
    workers: int = 0
    """Threads that decode; 0 is one a core."""

    def __post_init__(self) -> None:
        require({"valid_fraction": self.valid_fraction}, least=0, most=0.5)
        if not self.valid_hours > 0:
            raise UserError(f"valid_hours={self.valid_hours} must be more than 0; valid_fraction=0 holds out nothing")
        require(named(self, "workers", "min_seconds"), least=0)
        require({"min_speakers": self.min_speakers}, least=2)


@dataclass
class Accepted:
    """Usable recordings on their way from the first pass to the second, on disk."""

    spool: IO[str]
    """A line of JSON each: path, split, samples, speaker, label cells."""
    pool: Pool
    """Those that no split but train claims."""
    splits: set[str] = field(default_factory=set)
    """Splits that the corpus names."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Recordings that cannot be used, counted by reason."""
    known: Counter[str] = field(default_factory=Counter)
    """Recordings that have a label, counted by column."""


def make_manifests(settings: ManifestSettings) -> None:
    """Write `<split>.tsv`, `metadata.tsv`, `rejected.tsv`, `alignments.tsv` where phones are known, and two summaries.

    Every recording is decoded from end to end. Nothing is done where settings and recordings (their names, sizes,
    times and labels) are those of the last run. Memory does not grow with the number of recordings, but for the
    corpus's own table of labels.

    Raises:
        UserError: the corpus is not there, or no recording can be used.
    """
    corpus = open_corpus(settings.corpus)
    if set(str(corpus.root.absolute())) & _BREAKS:
        raise UserError(f"the folder's name {str(corpus.root)!r} holds a tab or a line end; rename it")
    out = Path(settings.out)
    table = settings.corpus.metadata
    if out.resolve() in (corpus.root.resolve(), *([Path(table).resolve().parent] if table else [])):
        raise UserError(
            f"out={out} holds the audio or its metadata.tsv, and a table of that name is written there: "
            "give another folder"
        )
    summary_file = out / "manifest.json"
    chosen = dataclasses.asdict(settings)
    chosen.pop("workers")
    found = fingerprint_of(chosen, corpus)
    if _is_current(summary_file, found.everything):
        print(f"manifest: done before and unchanged: {summary_file}")
        return
    out.mkdir(parents=True, exist_ok=True)
    old = set(read_json(summary_file)["files"]) if summary_file.is_file() else set()
    if old:
        # Not current from here on; a command that is killed now has not forgotten which files are its own.
        write_json(summary_file, {"fingerprint": "", "files": sorted(old)})
    with tempfile.TemporaryFile("w+", dir=out, encoding="utf-8") as spool:
        accepted = Accepted(spool, Pool(settings.seed))
        files = _inspect_all(settings, corpus, found.entries, out, accepted)
        _require_some(settings, corpus, accepted, out)
        splits = _write_splits(settings, corpus, out, accepted)
    write_json(out / AUDIO, {"sha256": found.audio})
    files += [AUDIO, METADATA, *(f"{split}.tsv" for split in splits)]
    for name in old - set(files):
        (out / name).unlink(missing_ok=True)
    write_json(
        summary_file,
        {
            "fingerprint": found.everything,
            "corpus": settings.corpus.name,
            "root": str(corpus.root.absolute()),
            "splits": {split: {"files": count, "hours": seconds / 3600} for split, (count, seconds) in splits.items()},
            "rejected": sum(accepted.rejected.values()),
            "files": sorted(files),
        },
    )
    _print_summary(settings, splits, accepted, out)
    _print_labels(corpus, accepted, sum(count for count, _ in splits.values()))


def _is_current(summary_file: Path, fingerprint: str) -> bool:
    if not summary_file.is_file():
        return False
    summary = read_json(summary_file)
    folder = summary_file.parent
    return summary["fingerprint"] == fingerprint and all((folder / name).is_file() for name in summary["files"])


def _inspect_all(settings: ManifestSettings, corpus: Corpus, entries: int, out: Path, accepted: Accepted) -> list[str]:
    """First pass: decode everything, write what can be known at once, spool the rest. Return the tables' names."""
    workers = settings.workers or available_cores()

    def inspect(entry: Entry) -> int | str:
        return _inspect(corpus.root, entry, settings.min_seconds)

    inspected = in_order(corpus.entries(), inspect, workers, ahead=8 * workers)
    found = progress(inspected, "reading audio", "file", total=entries)
    with contextlib.ExitStack() as stack:
        reject = stack.enter_context(table_writer(out / "rejected.tsv", ["path", "reason"]))
        align = None
        for entry, result in found:
            if isinstance(result, str):
                reject([entry.path, result])
                accepted.rejected[result.partition(":")[0]] += 1
                continue
            _accept(accepted, corpus, entry, result)
            for segment in entry.alignment:
                # Made when it is needed: one that somebody laid there is theirs.
                align = align or stack.enter_context(table_writer(out / "alignments.tsv", ALIGNMENT_COLUMNS))
                align([entry.path, f"{segment.start:.6f}", f"{segment.end:.6f}", segment.phone])
    return ["rejected.tsv", *(["alignments.tsv"] if align else [])]


def _inspect(root: Path, entry: Entry, min_seconds: float) -> int | str:
    """Return samples at 16 kHz, or why the recording cannot be used."""
    if entry.rejected:
        return entry.rejected
    if leaves_root(entry.path):
        return "the path leaves the corpus's folder"
    if set(entry.path) & _BREAKS:
        return "the name holds a tab or a line end, which a manifest cannot: rename it"
    if not entry.path.isprintable() and any("\udc80" <= letter <= "\udcff" for letter in entry.path):
        return "the name is not UTF-8: rename it"
    try:
        return inspect_audio(root / entry.path, min_seconds)
    except AudioError as error:
        return str(error)


def _accept(accepted: Accepted, corpus: Corpus, entry: Entry, samples: int) -> None:
    cells = [entry.labels.get(label, "") for label in corpus.labels]
    accepted.known.update(label for label, cell in zip(corpus.labels, cells, strict=True) if cell)
    accepted.spool.write(json.dumps([entry.path, entry.split, samples, entry.labels.get("speaker", ""), cells]) + "\n")
    accepted.splits.add(entry.split or "train")
    if entry.split in ("", "train"):
        accepted.pool.add(entry.path, entry.labels.get("speaker", ""), samples / SAMPLE_RATE)


def _require_some(settings: ManifestSettings, corpus: Corpus, accepted: Accepted, out: Path) -> None:
    if not accepted.splits:
        rejected = sum(accepted.rejected.values())
        if not rejected:
            raise UserError(f"no audio file below {corpus.root}; is this the right folder?")
        reason, count = accepted.rejected.most_common(1)[0]
        raise UserError(
            f"none of the {rejected} audio files below {corpus.root} can be used ({count} of them: {reason}); "
            f"{out / 'rejected.tsv'} lists why"
        )
    if accepted.pool.files == 1 and "valid" not in accepted.splits and settings.valid_fraction > 0:
        raise UserError(
            f"only one recording of train below {corpus.root} can be used, too few for train and valid; see "
            f"{out / 'rejected.tsv'}, or set valid_fraction=0"
        )


def _write_splits(
    settings: ManifestSettings, corpus: Corpus, out: Path, accepted: Accepted
) -> dict[str, tuple[int, float]]:
    """Second pass: from the spool to the manifests and metadata. Return files and seconds by split."""
    rule = _split_rule(settings, accepted)
    totals: dict[str, tuple[int, float]] = {}
    with contextlib.ExitStack() as stack:
        write_metadata = stack.enter_context(table_writer(out / METADATA, [*FIXED_COLUMNS, *corpus.labels]))
        manifests: dict[str, Callable[[Sequence[object]], None]] = {}
        accepted.spool.seek(0)
        for path, named, samples, speaker, cells in map(json.loads, accepted.spool):
            split = named if named not in ("", "train") else rule(path, speaker)
            if split not in manifests:
                manifests[split] = stack.enter_context(
                    table_writer(out / f"{split}.tsv", [str(corpus.root.absolute())])
                )
            manifests[split]([path, samples])
            write_metadata([path, split, f"{samples / SAMPLE_RATE:.3f}", *cells])
            files, seconds = totals.get(split, (0, 0.0))
            totals[split] = files + 1, seconds + samples / SAMPLE_RATE
    return dict(sorted(totals.items()))


def _split_rule(settings: ManifestSettings, accepted: Accepted) -> SplitRule:
    if "valid" in accepted.splits or settings.valid_fraction == 0:
        return keep_all
    return accepted.pool.rule(_held_out_fraction(settings, accepted), settings.min_speakers)


def _held_out_fraction(settings: ManifestSettings, accepted: Accepted) -> float:
    limit = settings.valid_hours * 3600
    return min(settings.valid_fraction, limit / max(limit, accepted.pool.total_seconds))


def _print_summary(
    settings: ManifestSettings, splits: dict[str, tuple[int, float]], accepted: Accepted, out: Path
) -> None:
    parts = [f"{split} {files} files {seconds / 3600:.2f} h" for split, (files, seconds) in splits.items()]
    how = ""
    if _split_rule(settings, accepted) is not keep_all:
        by_speaker = accepted.pool.by_speaker(settings.min_speakers)
        how = ", held out by speaker" if by_speaker else ", held out by recording"
        if _held_out_fraction(settings, accepted) < settings.valid_fraction:
            how += f", as valid_hours={settings.valid_hours:g} is less than valid_fraction={settings.valid_fraction:g}"
    elif "valid" in accepted.splits and settings.valid_fraction != ManifestSettings.valid_fraction:
        how = f"; valid is the corpus's own, so valid_fraction={settings.valid_fraction:g} is not read"
    total, hours = sum(files for files, _ in splits.values()), sum(seconds for _, seconds in splits.values()) / 3600
    print(
        f"manifest: {total} files, {hours:.2f} h ({', '.join(parts)}{how}) in {out}; "
        f"{sum(accepted.rejected.values())} rejected, listed in {out / 'rejected.tsv'}"
    )
    for reason, count in accepted.rejected.most_common():
        print(f"manifest: {count} rejected: {reason}")


def _print_labels(corpus: Corpus, accepted: Accepted, recordings: int) -> None:
    counts = [f"{label} {accepted.known[label]} of {recordings}" for label in corpus.labels]
    print(f"manifest: labels: {', '.join(counts) or 'none'}")
