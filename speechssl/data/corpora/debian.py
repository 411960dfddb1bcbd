"""Debian packages as corpora: downloaded with apt-get, unpacked with dpkg, without root."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from speechssl.errors import UserError
from speechssl.files import move_folder

logger = logging.getLogger(__name__)


def fetch_packages(packages: Sequence[str], downloads: str | Path) -> Path:
    """Unpack Debian packages below a folder; those that are there already are left alone.

    Args:
        packages: names of packages, any Debian or Ubuntu release's.
        downloads: folder of downloads.

    Returns:
        `<downloads>/debian`; package `p` lies in its subfolder `p`, whole or not at all.

    Raises:
        UserError: apt-get or dpkg is missing, the machine is offline, or apt's lists of packages are empty or old.
    """
    folder = Path(downloads) / "debian"
    missing = [package for package in packages if not (folder / package).is_dir()]
    if missing:
        for tool in ("apt-get", "dpkg"):
            if shutil.which(tool) is None:
                raise UserError(
                    f"{tool} is not on this machine, and {missing[0]} is a Debian package: use Debian or Ubuntu, "
                    "or your own audio with corpus=folder"
                )
        folder.mkdir(parents=True, exist_ok=True)
    for package in missing:
        logger.info("downloading %s", package)
        _fetch(package, folder)
    return folder


def _fetch(package: str, folder: Path) -> None:
    """Download and unpack beside the final place, then move."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{package}.") as name:
        work = Path(name)
        _download(package, work)
        archive = next(work.glob("*.deb"))
        unpacked = _run(["dpkg", "-x", archive.name, "unpacked"], work)
        if unpacked.returncode != 0:
            raise UserError(f"dpkg cannot unpack {archive.name}: {_last_line(unpacked)}; is the disk full?")
        move_folder(work / "unpacked", folder / package)


def _download(package: str, work: Path) -> None:
    command = ["apt-get", "download", "-o", "APT::Sandbox::User=root", package]
    result = _run(command, work)
    if result.returncode != 0 and os.geteuid() == 0:
        # Containers come without lists of packages, and old lists name files that are gone.
        logger.info("updating apt's lists of packages")
        _run(["apt-get", "update"], work)
        result = _run(command, work)
    if result.returncode == 0:
        return
    problem = _last_line(result)
    if "Unable to locate package" in result.stderr or "No packages found" in result.stderr:
        raise UserError(f"apt knows no package {package}: run `sudo apt-get update`, then the same command again")
    raise UserError(
        f"apt-get cannot download {package} ({problem}): is this machine online? If it is, run `sudo apt-get update`, "
        "then the same command again"
    )


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _last_line(result: subprocess.CompletedProcess[str]) -> str:
    errors = [line for line in result.stderr.splitlines() if line.startswith("E:")] or result.stderr.splitlines()
    return errors[-1].removeprefix("E: ").rstrip(".") if errors else f"status {result.returncode}"
