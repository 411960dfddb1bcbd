"""Reads the recordings of a task as clips of one length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from speechssl.audio import SAMPLE_RATE
from speechssl.audio.clip import fit_clip
from speechssl.evaluation.recordings import Recording
from speechssl.threads import available_cores, in_order


class Clips:
    """Reads recordings as clips, in threads, and keeps them between encoders while they fit.

    Args:
        seconds: length of a clip.
        workers: threads that decode; 0 is one a core.
        cache_gb: gigabytes of clips kept at most (an hour is 0.23).
    """

    def __init__(self, seconds: float, workers: int = 0, cache_gb: float = 2.0) -> None:
        self.seconds = seconds
        self.samples = round(seconds * SAMPLE_RATE)
        self._workers = workers or available_cores()
        self._free = int(cache_gb * 1e9 / (torch.float32.itemsize * self.samples))
        self._kept: dict[Path, Tensor] = {}

    def batches(self, recordings: Sequence[Recording], size: int) -> Iterator[Tensor]:
        """Yield `(size, samples)` in the order of the recordings; the last one may have fewer.

        Raises:
            UserError: audio cannot be read, or is not as long as its manifest says.
        """
        clips: list[Tensor] = []
        for clip in self._in_order(recordings, ahead=2 * size):
            clips.append(clip)
            if len(clips) == size:
                yield torch.stack(clips)
                clips = []
        if clips:
            yield torch.stack(clips)

    def _in_order(self, recordings: Sequence[Recording], ahead: int) -> Iterator[Tensor]:
        for recording, clip in in_order(recordings, self._read, self._workers, ahead):
            if recording.audio not in self._kept and len(self._kept) < self._free:
                self._kept[recording.audio] = clip
            yield clip

    def _read(self, recording: Recording) -> Tensor:
        if recording.audio in self._kept:
            return self._kept[recording.audio]
        # A copy, so that the rest of a long recording is not kept with it.
        return fit_clip(recording.read(), self.samples).clone()
