"""Memory that is free again stays with the process, or goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

UPDATES = """
import resource, sys, torch
from speechssl.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
torch.set_num_threads(1)
layers = torch.nn.Sequential(*(torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(4)))
def update():
    layers(torch.ones(8, 8, 256, 256)).sum().backward()
for _ in range(3):
    update()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    update()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


PIECES = """
from pathlib import Path
from speechssl.memory import hand_back_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before = resident()
# Blocks small enough to come from the heap; every tenth stays in use, so that the heap cannot shrink at its end.
blocks = [bytes(60_000) for _ in range(4000)]
kept = blocks[::10]
del blocks
held = resident() - before
hand_back_memory()
print(held, resident() - before)
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is set")


def page_faults(what: str) -> int:
    """Return how many pages the system mapped for three updates, after three others."""
    done = subprocess.run([sys.executable, "-c", UPDATES, what], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_updates_map_few_pages_again() -> None:
    assert page_faults("kept") < 0.2 * page_faults("given back")


def test_memory_between_pieces_in_use_goes_back() -> None:
    done = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True, check=True)
    held, left = map(int, done.stdout.split())
    assert held > 150e6, "the heap keeps what was freed"
    assert left < held / 3
