"""SD: which of two speakers speak when."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from speechssl.audio import SAMPLE_RATE
from speechssl.errors import UserError, few
from speechssl.evaluation.superb.beside import Line
from speechssl.evaluation.superb.data import PARTS, TaskData, Utterance
from speechssl.evaluation.superb.problems.problem import Posteriors, Problem, Scorer
from speechssl.s3prl_patches import guarded_s3prl

_SPEAKERS = 2
_CHUNK = 2000
"""Frames of the encoder in a chunk."""
_SHORTEST = 10
"""Frames of a last chunk; fewer stay with the chunk before them, as an encoder may see no frame in so little."""
_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
_MEDIANS = (1, 11)


@dataclass(frozen=True)
class Segment:
    """A stretch of speech."""

    start: float
    """In seconds from the recording's beginning, as `end`."""
    end: float
    speaker: int
    """0 or 1."""


@dataclass(frozen=True, kw_only=True)
class Chunk(Utterance):
    """A stretch of a recording that is encoded, learnt and predicted at once."""

    recording: str
    """`id`."""
    frame: int
    """Samples of a frame."""
    targets: Tensor
    """`(frames, 2)`: 1 where a speaker speaks."""
    reference: Tensor
    """`(steps, 2)`: the same in steps of 10 ms (or what divides a frame), of the last chunk to the recording's end."""


class Diarization(Problem):
    """LSTM 512 (`s3prl.nn.rnn.SuperbDiarizationModel`) and s3prl's permutation-invariant loss, as in its `SuperbSD`.

    A recording has two speakers, or one. It is cut into chunks of 2000 frames of the encoder; a last chunk of less than
    10 stays with the one before. Unlike s3prl, a segment that begins before a chunk and ends after it is speech in it.

    The error rate has no collar, and overlapping speech is scored. On validation it is s3prl's: it counts frames of the
    encoder, the mean over the chunks, logits above 0 are speech, each chunk in its own order of speakers, a chunk
    without speech has none. On test it is as in SUPERB's scoring: in steps of 10 ms, so that segments that end within a
    frame count as they are, over all time, one order of speakers a recording; the threshold (0.3 to 0.7) and the
    median filter (1 or 11 frames) are those that are best on validation, where SUPERB's own takes the best on test.
    The test part's `chunk_der` is what validation counts.
    """

    pooled = False
    metrics = ("der",)
    lower_is_better = True

    def __init__(self, data: TaskData, columns: Sequence[str]) -> None:
        if columns:
            raise UserError(f"labels={list(columns)}: this task reads no column, but segments")
        self._segments = {part: _segments(data, part) for part in PARTS}

    def pieces(self, part: str, utterances: Sequence[Utterance], frame_rate: float) -> Sequence[Utterance]:
        """Return the chunks of all recordings."""
        frame = round(SAMPLE_RATE / frame_rate)
        segments = self._segments[part]
        return [chunk for item in utterances for chunk in _chunks(item, segments[item.name], frame)]

    def head(self, dim: int) -> nn.Module:
        """Return s3prl's head."""
        with guarded_s3prl():
            from s3prl.nn.rnn import SuperbDiarizationModel
        return SuperbDiarizationModel(dim, _SPEAKERS, rnn_layers=1, hidden_size=512)

    def loss(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Any]) -> Tensor:
        """Return the mean binary cross-entropy of the frames, each chunk in its better order of speakers."""
        with guarded_s3prl():
            from s3prl.nn.pit import pit_loss
        logits, _ = head(features, lengths)
        counts = [len(chunk.targets) for chunk in utterances]
        said = [_matched(row[:length], count) for row, length, count in zip(logits, lengths, counts, strict=True)]
        truth = pad_sequence([chunk.targets for chunk in utterances], batch_first=True).to(logits.device)
        loss: Tensor = pit_loss(pad_sequence(said, batch_first=True), truth, torch.tensor(counts))[0]
        return loss

    def weight(self, utterances: Sequence[Any]) -> float:
        """Return the frames, whose mean the loss is."""
        return sum(len(chunk.targets) for chunk in utterances)

    def predict(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Any]) -> list[Tensor]:
        """Return the logits `(frames, 2)` of each chunk."""
        logits, _ = head(features, lengths)
        return [row[:length].cpu() for row, length in zip(logits, lengths.tolist(), strict=True)]

    def scores(self, predictions: Sequence[Tensor], utterances: Sequence[Any]) -> dict[str, float]:
        """Return the mean of the chunks' diarization error rates, as s3prl does on validation."""
        return {"der": _chunk_der(predictions, utterances)}

    def test_scorer(self, validate: Callable[[], Sequence[Any]], valid: Sequence[Any]) -> Scorer:
        """Return what scores whole recordings, with the threshold and median filter that suit validation best."""
        predictions = validate()
        scorers = [RecordingScorer(*setting) for setting in product(_THRESHOLDS, _MEDIANS)]
        return min(scorers, key=lambda scorer: scorer.der(predictions, valid))

    def facts(self) -> dict[str, Any]:
        """Return what the error rate is."""
        return {
            "notes": [
                "der: no collar, overlapping speech scored; valid: mean over chunks, in frames of the encoder, "
                "threshold 0.5; test: over whole recordings, in steps of 10 ms, threshold and median filter chosen on "
                "valid"
            ]
        }


class RecordingScorer(Scorer):
    """The diarization error rate of whole recordings.

    Args:
        threshold: probability above which a speaker speaks.
        median: frames of the median filter on that, 1 for none.
    """

    def __init__(self, threshold: float, median: int) -> None:
        self._threshold = threshold
        self._median = median

    def scores(self, predictions: Sequence[Tensor], utterances: Sequence[Any]) -> dict[str, float]:
        """Return the error rate of recordings, that of chunks, and the setting; the median filter is in frames."""
        return {
            "der": self.der(predictions, utterances),
            "chunk_der": _chunk_der(predictions, utterances),
            "threshold": self._threshold,
            "median_filter": float(self._median),
        }

    def count(self, utterances: Sequence[Any]) -> int:
        """Return how many recordings they are: how many chunks those have depends on the encoder."""
        return len({chunk.recording for chunk in utterances})

    def der(self, predictions: Sequence[Tensor], utterances: Sequence[Chunk]) -> float:
        """Return all wrong speech over all speech, the speakers of each recording in their better order."""
        wrong = spoken = 0.0
        for said, chunks in self._recordings(predictions, utterances):
            truth = torch.cat([chunk.reference for chunk in chunks])
            steps = torch.from_numpy(said).repeat_interleave(chunks[0].frame // _step(chunks[0].frame), dim=0)
            steps = functional.pad(steps, (0, 0, 0, len(truth) - len(steps)))
            orders = [_errors(steps, truth[:, order]) for order in permutations(range(_SPEAKERS))]
            wrong += min(errors for errors, _ in orders)
            spoken += orders[0][1]
        return wrong / spoken

    def report(self, predictions: Sequence[Tensor], utterances: Sequence[Any]) -> Mapping[str, Any]:
        """Return `[speaker, start, end]` of the speech that was found in each recording, in seconds."""
        return {
            chunks[0].recording: [
                [
                    speaker,
                    round(first * chunks[0].frame / SAMPLE_RATE, 3),
                    round(last * chunks[0].frame / SAMPLE_RATE, 3),
                ]
                for speaker in range(_SPEAKERS)
                for first, last in _runs(said[:, speaker])
            ]
            for said, chunks in self._recordings(predictions, utterances)
        }

    def posteriors(self, predictions: Sequence[Tensor], utterances: Sequence[Any]) -> Posteriors:
        """Return the probability that a speaker speaks, in no order of speakers."""
        heard = {chunks[0].recording: said.numpy() for said, chunks in _by_recording(predictions, utterances)}
        return Posteriors(utterances[0].frame, heard)

    def _recordings(
        self, predictions: Sequence[Tensor], utterances: Sequence[Chunk]
    ) -> Iterator[tuple[npt.NDArray[np.int64], list[Chunk]]]:
        """Yield `(frames, 2)`, 1 for speech, and the chunks of each recording."""
        from scipy.signal import medfilt  # slow to import

        for heard, chunks in _by_recording(predictions, utterances):
            said = (heard > self._threshold).long().numpy()
            yield (said if self._median == 1 else medfilt(said, (self._median, 1))), chunks


def _by_recording(predictions: Sequence[Tensor], utterances: Sequence[Chunk]) -> Iterator[tuple[Tensor, list[Chunk]]]:
    """Yield the probabilities of speech `(frames, 2)`, and the chunks of each recording."""
    rows: dict[str, list[int]] = {}
    for row, chunk in enumerate(utterances):
        rows.setdefault(chunk.recording, []).append(row)
    for of_one in rows.values():
        logits = [_matched(predictions[row], len(utterances[row].targets)) for row in of_one]
        yield torch.cat(logits).sigmoid(), [utterances[row] for row in of_one]


def _chunk_der(predictions: Sequence[Tensor], chunks: Sequence[Chunk]) -> float:
    """Return the mean of the chunks' error rates, each with the order of speakers that its loss prefers."""
    with guarded_s3prl():
        from s3prl.nn.pit import get_label_perm, pit_loss
    rates = []
    for logits, chunk in zip(predictions, chunks, strict=True):
        said, truth = _matched(logits, len(chunk.targets))[None], chunk.targets[None]
        _, order, orders = pit_loss(said, truth, torch.tensor([len(chunk.targets)]))
        wrong, spoken = _errors(said[0], get_label_perm(truth, order, orders)[0])
        rates.append(wrong / spoken if spoken else 0.0)
    return sum(rates) / len(rates)


def _errors(said: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return wrong and spoken speaker frames of `(frames, 2)`: speech is above 0 in `said`, 1 in `truth`."""
    with guarded_s3prl():
        from s3prl.metric.diarization import calc_diarization_error
    counts = calc_diarization_error(said[None], truth[None], torch.tensor([len(truth)]))
    spoken, missed, false, confused = counts[5:]
    return missed + false + confused, spoken


def _matched(said: Tensor, frames: int) -> Tensor:
    """Return `(frames, 2)`, cut or its last frame repeated, as s3prl does: an encoder sees no frame at an edge."""
    return torch.cat([said, said[-1:].expand(max(frames - len(said), 0), -1)])[:frames]


def _runs(speech: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the first frame of each stretch of ones, and the one after its last."""
    changes = np.flatnonzero(np.diff(np.pad(speech, 1)))
    return list(zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True))


def _chunks(recording: Utterance, segments: Sequence[Segment], frame: int) -> Iterator[Chunk]:
    step, frames = _step(frame), recording.samples // frame
    for number, (first, last) in enumerate(_cuts(frames)):
        end = recording.samples if last == frames else last * frame
        yield Chunk(
            name=f"{recording.name}#{number}",
            audio=recording.audio,
            samples=(last - first) * frame,
            labels=recording.labels,
            first_sample=recording.first_sample + first * frame,
            recording=recording.name,
            frame=frame,
            targets=_targets(segments, first, last, frame),
            reference=_targets(segments, first * frame // step, end // step, step),
        )


def _step(frame: int) -> int:
    """Return the samples of 10 ms, or of the longest step that divides both it and a frame."""
    return math.gcd(SAMPLE_RATE // 100, frame)


def _cuts(frames: int) -> list[tuple[int, int]]:
    """Return the first frame of each chunk, and the one after its last."""
    edges = [*range(0, frames, _CHUNK)] or [0]
    if len(edges) > 1 and frames - edges[-1] < _SHORTEST:
        edges.pop()
    return list(pairwise([*edges, frames]))


def _targets(segments: Sequence[Segment], first: int, last: int, frame: int) -> Tensor:
    targets = torch.zeros(last - first, _SPEAKERS)
    for segment in segments:
        start, end = (round(seconds * SAMPLE_RATE / frame) - first for seconds in (segment.start, segment.end))
        targets[max(start, 0) : max(end, 0), segment.speaker] = 1
    return targets


def _segments(data: TaskData, part: str) -> dict[str, list[Segment]]:
    """Return the segments of each recording of a part; its speakers are numbered in the order of their names."""
    lines: dict[str, list[Line]] = {item.name: [] for item in data.parts[part]}
    for line in data.beside[part]:
        if line.cells["id"] not in lines:
            raise UserError(f"{line.place}: no recording '{line.cells['id']}' in {data.name(part)}")
        lines[line.cells["id"]].append(line)
    silent = [str(item.audio) for item in data.parts[part] if not lines[item.name]]
    if silent:
        raise UserError(f"{data.name(part)}: {len(silent)} recordings have no segments: {few(silent)}; take them out")
    return {item.name: _segments_of(item, lines[item.name]) for item in data.parts[part]}


def _segments_of(recording: Utterance, lines: Sequence[Line]) -> list[Segment]:
    speakers: dict[str, int] = {}
    for line in lines:
        speakers.setdefault(line.cells["speaker"], len(speakers))
        if len(speakers) > _SPEAKERS:
            names = ", ".join(speakers)
            raise UserError(f"{line.place}: recording '{recording.name}' has more than two speakers: {names}")
    numbers = {speaker: number for number, speaker in enumerate(sorted(speakers))}
    seconds = recording.samples / SAMPLE_RATE
    return [Segment(*_times(line, seconds), numbers[line.cells["speaker"]]) for line in lines]


def _times(line: Line, seconds: float) -> tuple[float, float]:
    """Return start and end of a segment; it begins in the recording of so many seconds."""
    try:
        start, end = float(line.cells["start"]), float(line.cells["end"])
    except ValueError as error:
        raise UserError(f"{line.place}: start and end are not both numbers") from error
    if not 0 <= start < min(end, seconds) or math.isinf(end):
        raise UserError(f"{line.place}: {start} to {end} s is no stretch of a recording of {seconds:.2f} s")
    return start, end
