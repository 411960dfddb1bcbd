"""`speechssl doctor`: what is installed, which versions clash, which device is seen, and what to do about it."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version

from speechssl.cli.command import Command
from speechssl.errors import UserError

BASE = ("torch", "numpy", "soundfile", "safetensors")
EXTRAS = {
    "train": "manifests, units, topics, pretraining, probes, the report",
    "superb": "s3prl's tasks",
    "pesq": "PESQ of speech enhancement; pip compiles it",
    "export": "Hugging Face folders",
    "dev": "tests, lint and types",
}
"""What each extra of setup.py adds."""
DEBIAN_TOOLS = {
    "apt-get": "fetches Debian packages: the mini recipe's default corpus (without it: --audio-dir), and flite",
    "dpkg": "unpacks Debian packages",
}
_WIDTH = len("bf16 on the processor")
"""That of the longest subject."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report."""

    status: str
    """`ok`, `missing` (something is left out, nothing is broken) or `problem`."""
    subject: str
    """What was looked at."""
    detail: str
    """What was found."""
    advice: str = ""
    """What to do about it."""


def run(_settings: None) -> None:
    """Print each finding when it is there; any problem is a `UserError`, so that the exit status tells."""
    problems = []
    for finding in _findings():
        print(f"{finding.status:8} {finding.subject:{_WIDTH}}  {finding.detail}")
        if finding.advice:
            print(f"{'':8} {'':{_WIDTH}}  -> {finding.advice}")
        if finding.status == "problem":
            problems.append(finding.subject)
    if problems:
        raise UserError(f"{len(problems)} problem(s): {', '.join(problems)}; the lines with -> say what to do")
    print("doctor: nothing is broken")


def _findings() -> Iterator[Finding]:
    yield from _python()
    base = list(_base())
    yield from base
    if _installed("speechssl"):
        yield from _extras()
        yield from _clashes()
    else:
        advice = "to have its extras and versions compared: bash tools/setup.sh"
        yield Finding("missing", "speechssl", "not installed, only found in a folder", advice)
    yield from _engine()
    # These two need what the base packages have.
    if all(finding.status == "ok" for finding in base):
        yield from _audio_formats()
        yield from _device()
        yield from _gpus()
    yield from _tools()


def _python() -> Iterator[Finding]:
    name = f"{sys.version.split()[0]} ({sys.prefix})"
    if (3, 10) <= sys.version_info[:2] <= (3, 12):
        yield Finding("ok", "python", name)
    else:
        yield Finding("problem", "python", name, "use Python 3.10 to 3.12: bash tools/setup.sh --python python3.11")


def _base() -> Iterator[Finding]:
    for name in BASE:
        try:
            module = importlib.import_module(name)
        except Exception as error:
            yield Finding("problem", name, _one_line(error), "install it again: bash tools/setup.sh")
        else:
            build = ""
            if name == "torch":
                build = f" (CUDA {module.version.cuda} build)" if module.version.cuda else " (build without CUDA)"
            yield Finding("ok", name, f"{version(name)}{build}")


def _extras() -> Iterator[Finding]:
    for extra, purpose in EXTRAS.items():
        missing = [name for name in _extra_packages(extra) if not _installed(name)]
        if missing:
            # By its name pip would fetch another package: this one is in no index.
            advice = f"for {purpose}: pip install -e '.[{extra}]' in the project's folder"
            yield Finding("missing", f"extra {extra}", f"would add {', '.join(missing)}", advice)
        else:
            yield Finding("ok", f"extra {extra}", purpose)


def _extra_packages(extra: str) -> list[str]:
    """Names of the packages of an extra, from this installation's own metadata (`name>=1; extra == "train"`)."""
    lines = [line for line in distribution("speechssl").requires or [] if line.endswith((f'"{extra}"', f"'{extra}'"))]
    return sorted({_name(line) for line in lines})


def _name(requirement: str) -> str:
    end = next((i for i, letter in enumerate(requirement) if letter in " ;<>=!~[("), len(requirement))
    return requirement[:end]


def _installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _clashes() -> Iterator[Finding]:
    """Versions that this project's packages, or the packages these need, do not accept."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield Finding("missing", "versions", "not compared", "pip install packaging")
        return
    seen: set[str] = set()
    waiting = [("speechssl", frozenset({"", *EXTRAS}))]
    clashes = 0
    while waiting:
        owner, extras = waiting.pop()
        for requirement in map(Requirement, distribution(owner).requires or []):
            wanted = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in extras
            )
            if not wanted or not _installed(requirement.name):
                continue
            found = version(requirement.name)
            if not requirement.specifier.contains(found, prereleases=True):
                clashes += 1
                detail = f"{found} is installed, {owner} needs {requirement.specifier}"
                advice = f"pip install '{requirement.name}{requirement.specifier}', or bash tools/setup.sh"
                yield Finding("problem", requirement.name, detail, advice)
            if requirement.name not in seen:
                seen.add(requirement.name)
                waiting.append((requirement.name, frozenset({"", *requirement.extras})))
    if not clashes:
        yield Finding("ok", "versions", f"no clash among {len(seen)} packages")


def _engine() -> Iterator[Finding]:
    """fairseq2's C++ half loads only beside the torch build it was made for, and needs libsndfile."""
    if not _installed("fairseq2n"):
        return
    try:
        importlib.import_module("fairseq2n.bindings")
    except Exception as error:
        message = _one_line(error)
        if "sndfile" in message:
            advice = "apt-get install libsndfile1, or bash tools/setup.sh, which links the one of the soundfile wheel"
        else:
            advice = "install the torch that it was built for: bash tools/setup.sh"
        yield Finding("problem", "fairseq2n", message, advice)
    else:
        yield Finding("ok", "fairseq2n", f"{version('fairseq2n')} loads, with libsndfile and this torch")


def _audio_formats() -> Iterator[Finding]:
    import soundfile

    wanted = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3"}
    formats = soundfile.available_formats()
    read = [name for name, code in wanted.items() if code in formats]
    if "OPUS" in soundfile.available_subtypes():
        read.append("opus")
    detail = f"{soundfile.__libsndfile_version__} reads {', '.join(read)}"
    complete = len(read) == len(wanted) + 1
    advice = "" if complete else "pip install --upgrade soundfile (its wheel brings libsndfile 1.2)"
    yield Finding("ok" if complete else "missing", "libsndfile", detail, advice)


def _device() -> Iterator[Finding]:
    from speechssl.report.environment import machine

    for subject, detail in machine().items():
        yield Finding("ok", subject, detail)


def _gpus() -> Iterator[Finding]:
    """A torch build may see a GPU that it has no kernels for, and a GPU may compute what the processor does not."""
    import torch

    from speechssl.models.agreement import TOLERATED, largest_difference
    from speechssl.models.device import pick_device

    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        subject = f"work of GPU {number}"
        try:
            difference = largest_difference(pick_device(f"cuda:{number}"))
        except torch.OutOfMemoryError:
            yield Finding("missing", subject, "not tried: its memory is full", "nvidia-smi says by what")
        except (RuntimeError, UserError) as error:
            advice = "give device=cpu (in training run.device=cpu), or install a torch build that knows this GPU"
            yield Finding("problem", subject, _one_line(error), advice)
        else:
            told = f"a small HuBERT gives the processor's numbers to {difference:.0e}"
            if difference <= TOLERATED:
                yield Finding("ok", subject, told)
            else:
                yield Finding("problem", subject, told, "give device=cpu (in training run.device=cpu), or mend the GPU")


def _tools() -> Iterator[Finding]:
    for name, purpose in DEBIAN_TOOLS.items():
        path = shutil.which(name)
        yield Finding("ok" if path else "missing", name, f"{path or 'not found'}: {purpose}")


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


COMMAND: Command = Command(
    name="doctor",
    summary="say what is installed, which versions clash, which device is seen, and what to do about it",
    settings=type(None),
    run=run,
    examples=("",),
)
