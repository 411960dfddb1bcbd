"""What decides whether the manifests of a corpus are still current: settings, and recordings with their labels."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

from speechssl import __version__
from speechssl.data.corpora import Corpus, Entry
from speechssl.threads import in_order

_STATUS_THREADS = 32
"""Threads that ask for sizes and times of files: they wait for the drive, and need no processor."""

_STATUS_BLOCK = 64
"""Files that a thread asks for at a time."""


class Fingerprint(NamedTuple):
    """What tells a run of `speechssl manifest` from another."""

    everything: str
    """Checksum of settings and recordings, with their labels."""
    audio: str
    """Checksum of the names, sizes and times of the audio files."""
    entries: int
    """Number of recordings."""


def fingerprint_of(settings: Mapping[str, Any], corpus: Corpus) -> Fingerprint:
    """Return what tells a run with these settings, on this corpus as it is now, from another."""
    digest = hashlib.sha256(json.dumps([__version__, settings], sort_keys=True).encode())
    audio = hashlib.sha256()
    count = 0
    for entry, status in _with_status(corpus):
        count += 1
        # A folder that cannot be read changes with what others do in it.
        if status is not None and stat.S_ISREG(status.st_mode):
            digest.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
            audio.update(f"{entry.path!r} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        digest.update(repr(entry).encode("utf-8", "surrogateescape"))
    return Fingerprint(digest.hexdigest(), audio.hexdigest(), count)


def _with_status(corpus: Corpus) -> Iterator[tuple[Entry, os.stat_result | None]]:
    """Yield the recordings with their sizes and times, `None` where there is no such file.

    Many files are asked for at once: on a network drive each takes a while.
    """

    def status(entry: Entry) -> os.stat_result | None:
        with contextlib.suppress(OSError, ValueError):
            return os.stat(corpus.root / entry.path)
        return None

    entries = iter(corpus.entries())
    blocks = iter(lambda: list(islice(entries, _STATUS_BLOCK)), [])
    looked = in_order(blocks, lambda block: list(map(status, block)), _STATUS_THREADS, ahead=2 * _STATUS_THREADS)
    for block, found in looked:
        yield from zip(block, found, strict=True)
