"""Where files are, looked up for many of them."""

from __future__ import annotations

import os
from pathlib import Path


class RealPaths:
    """Finds where files are, without links. Folders are looked at once, since many files are in one."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def __call__(self, file: Path) -> str:
        """Return where a file is."""
        folder, name = os.path.split(file)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        path = os.path.join(self._folders[folder], name)
        return os.path.realpath(path) if os.path.islink(path) else path
