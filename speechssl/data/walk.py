"""Audio files under a folder, in an order that does not depend on the file system."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".gsm"})
"""Endings of files that are read."""

UNREADABLE_SUFFIXES = frozenset({".m4a", ".aac", ".wma", ".mp4", ".webm", ".mkv", ".amr", ".ape", ".wv"})
"""Endings of recordings that soundfile does not read: listed as rejected, not passed over."""


class Found(NamedTuple):
    """One recording."""

    path: str
    """Relative to the folder that was walked, with `/` between its parts."""
    rejected: str = ""
    """Why it is of no use; empty where it is."""


def walk_audio(root: str | Path) -> Iterator[Found]:
    """Yield every recording below `root` once, sorted by name within each folder.

    Links to files and folders outside are followed, each of these once. A link to something inside is not, since the
    recording is met in its own place. What is not followed is given as rejected. Only one folder's names are held in
    memory at a time, and the targets of links.
    """
    real = os.path.realpath(root)
    yield from _walk(real, "", _Visited(real), outside=False)


def holds_audio(folder: str | Path) -> bool:
    """Return whether a recording lies in a folder itself, and not in one below it."""
    with os.scandir(folder) as listing:
        return any(
            os.path.splitext(child.name)[1].lower() in AUDIO_SUFFIXES | UNREADABLE_SUFFIXES and not child.is_dir()
            for child in listing
        )


class _Visited:
    """Decides which links lead to something new. Paths are real ones."""

    def __init__(self, root: str):
        self._root = root
        self._folders = {root}
        self._linked_files: set[str] = set()

    def is_inside(self, path: str) -> bool:
        return os.path.commonpath([self._root, path]) == self._root

    def refusal(self, folder: str) -> str:
        """Return why a folder outside is not walked; empty where it is."""
        if os.path.commonpath([self._root, folder]) == folder:
            return "a link to a folder that holds this one"
        return "a folder that is listed under another name" if folder in self._folders else ""

    def enter(self, folder: str) -> None:
        """Note a folder outside that is walked."""
        self._folders.add(folder)

    def link_to(self, file: str) -> bool:
        """Return whether a file outside has not been met, and note it."""
        heard = os.path.splitext(file)[1].lower() in AUDIO_SUFFIXES
        seen = file in self._linked_files or (heard and os.path.dirname(file) in self._folders)
        self._linked_files.add(file)
        return not seen

    def is_linked(self, file: str) -> bool:
        """Return whether a link to a file has been met."""
        return bool(self._linked_files) and os.path.realpath(file) in self._linked_files


def _walk(folder: str, prefix: str, visited: _Visited, outside: bool) -> Iterator[Found]:
    """Yield the recordings of a folder, which is `outside` where a link led to it or to one above it."""
    try:
        with os.scandir(folder) as listing:
            children = sorted(listing, key=lambda child: child.name)
    except PermissionError:
        # Such as lost+found, where the root is a disk. A root that cannot be read is an error.
        if not prefix:
            raise
        yield Found(prefix.removesuffix("/"), "a folder that cannot be read")
        return
    if outside:
        visited.enter(os.path.realpath(folder))
    for child in children:
        name = prefix + child.name
        suffix = os.path.splitext(child.name)[1].lower()
        target = os.path.realpath(child.path) if child.is_symlink() else ""
        if child.is_dir():
            if target and visited.is_inside(target):
                yield Found(name, "a link to a folder that is listed in its own place")
            elif not (target or outside):
                yield from _walk(child.path, name + "/", visited, outside)
            elif refusal := visited.refusal(target or os.path.realpath(child.path)):
                yield Found(name, refusal)
            else:
                yield from _walk(child.path, name + "/", visited, outside=True)
        elif suffix in UNREADABLE_SUFFIXES:
            yield Found(name, f"{suffix} files are not read; convert it, e.g. to flac")
        elif suffix in AUDIO_SUFFIXES:
            yield Found(name, _file_problem(child, target, visited, outside))


def _file_problem(child: os.DirEntry[str], target: str, visited: _Visited, outside: bool) -> str:
    if not child.is_file():
        return "a link to nothing" if target else "not a regular file"
    if target and visited.is_inside(target):
        return "a link to a file that is listed in its own place"
    if (target and not visited.link_to(target)) or (not target and outside and visited.is_linked(child.path)):
        return "a file that is listed under another name"
    return ""
