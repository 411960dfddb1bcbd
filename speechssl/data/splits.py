"""Which recordings are held out: whole speakers where there are enough of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

SplitRule = Callable[[str, str], str]
"""Takes a path and a speaker and returns `train` or `valid`."""


def keep_all(path: str, speaker: str) -> str:
    """Hold out nothing."""
    return "train"


@dataclass
class Pool:
    """What must be known of all recordings before any is held out; its size grows with speakers, not recordings."""

    seed: int
    """Another seed holds out others."""
    files: int = 0
    """Recordings so far."""
    without_speaker: int = 0
    """Recordings whose speaker is not known."""
    total_seconds: float = 0.0
    """Seconds of all recordings."""
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds by speaker."""
    _lowest: tuple[float, str] = (1.0, "")
    _highest: tuple[float, str] = (0.0, "")

    def add(self, path: str, speaker: str, seconds: float) -> None:
        """Count one recording."""
        self.files += 1
        self.total_seconds += seconds
        drawn = draw(self.seed, path), path
        self._lowest, self._highest = min(self._lowest, drawn), max(self._highest, drawn)
        if speaker:
            self.seconds[speaker] += seconds
        else:
            self.without_speaker += 1

    def by_speaker(self, min_speakers: int) -> bool:
        """Return whether whole speakers are held out; the few recordings of unknown speakers are then train."""
        return 2 * self.without_speaker < self.files and len(self.seconds) >= min_speakers

    def rule(self, valid_fraction: float, min_speakers: int) -> SplitRule:
        """Return the rule that holds out about `valid_fraction` of the pool, one recording at least, and not all.

        The draw of a recording or speaker depends on its name and the seed alone: where recordings are split one by
        one, a corpus that grows keeps every recording where it was, and with a smaller fraction some go over to train.
        """
        if self.by_speaker(min_speakers):
            held_out = self._held_out_speakers(valid_fraction)
            return lambda path, speaker: "valid" if speaker in held_out else "train"
        threshold, last = max(valid_fraction, self._lowest[0]), self._highest[1]
        return lambda path, speaker: "valid" if path != last and draw(self.seed, path) <= threshold else "train"

    def _held_out_speakers(self, valid_fraction: float) -> frozenset[str]:
        target = valid_fraction * sum(self.seconds.values())
        held_out: list[str] = []
        total = 0.0
        for speaker in sorted(self.seconds, key=lambda name: draw(self.seed, name)):
            # A speaker with much of the corpus would make the held-out part far larger than asked for.
            if total < target and total + self.seconds[speaker] <= 1.5 * target:
                held_out.append(speaker)
                total += self.seconds[speaker]
        return frozenset(held_out or [min(self.seconds, key=lambda name: (self.seconds[name], name))])


def draw(seed: int, name: str) -> float:
    """Return a number in [0, 1) that looks random and depends on the seed and the name only."""
    digest = hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
