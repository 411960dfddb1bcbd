"""What the numbers were made with: code revision, versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import speechssl
from speechssl.threads import available_cores

PACKAGES = (
    "speechssl",
    "torch",
    "torchaudio",
    "fairseq2",
    "numpy",
    "scikit-learn",
    "gensim",
    "sentencepiece",
    "s3prl",
    "transformers",
    "hydra-core",
    "soundfile",
    "matplotlib",
)
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
"""Names in /proc/cpuinfo of processors (x86, Arm) that multiply bfloat16 in hardware."""


def revision(folder: Path | None = None) -> str:
    """Return the git revision of the code in `folder` (default: this package's), marked where files differ from it."""
    folder = folder or Path(speechssl.__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    # Installed below somebody's project, the code is in a checkout, but none of its files is of it.
    if not commit or not _git(folder, "ls-files", "--", "."):
        return "not known (the code is not in a git checkout)"
    changed = _git(folder, "status", "--porcelain", "--", ".", ":/configs", ":/recipes", ":/tools")
    return commit + (" with uncommitted changes" if changed else "")


def versions() -> dict[str, str]:
    """Return the version of Python and of each package, without importing them."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine() -> dict[str, str]:
    """Return what this machine is: system, processor, cores that may be used, memory, GPUs, bf16."""
    cpu = _cpuinfo()
    found = {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": cpu.get("model name", platform.processor() or "not known"),
        "cores": str(available_cores()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
    }
    flags = set(f"{cpu.get('flags', '')} {cpu.get('Features', '')}".split())
    bf16 = "yes" if flags.intersection(BF16_FLAGS) else "no"
    found["bf16 on the processor"] = bf16
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        found["GPU"] = ", ".join(names)
        found["bf16 on the GPU"] = "yes" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    else:
        found["GPU"] = "none"
    return found


def _git(folder: Path, *arguments: str) -> str:
    """Return what a command of git says that only reads; empty where it fails."""
    # Git takes no orders from another user's checkout, e.g. for root in a container; these commands only look at it.
    # Before version 2.38 it does not take this permission from its command line.
    trusted = ["-c", "safe.directory=*"]
    command = ["git", *trusted, "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpuinfo() -> dict[str, str]:
    """Return the first processor's fields in /proc/cpuinfo."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
