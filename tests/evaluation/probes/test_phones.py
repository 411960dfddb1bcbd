"""Which recordings the phone probe learns from and is tested on, and how many frames of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechssl.data.alignments import Segment
from speechssl.evaluation.probes.phones import phone_task
from speechssl.evaluation.probes.settings import EvaluateSettings, ProbeSettings
from speechssl.evaluation.probes.splits import NotProbed
from speechssl.evaluation.recordings import Recording


def recording(name: str, speaker: str, split: str = "train") -> Recording:
    labels = {"speaker": speaker} if speaker else {}
    return Recording(name, Path("/"), 16000, split, labels, (Segment(0.0, 1.0, "aa"),))


def settings(frames: int = 20000) -> EvaluateSettings:
    probe = ProbeSettings(train_frames=frames, test_frames=frames)
    return EvaluateSettings(data_dir="d", out_dir="o", phones_dirs=["data"], probe=probe)


def speakers(recordings: list[Recording]) -> dict[str, set[str]]:
    task = phone_task("data", recordings, settings())
    return {part: {r.labels.get("speaker", "") for r in found} for part, found in task._parts.items()}


def test_speakers_of_one_part_are_in_no_other_and_unknown_ones_in_none() -> None:
    known = [recording(f"{speaker}-{n}", speaker) for speaker in "abcdef" for n in range(3)]
    found = speakers(known + [recording(f"unknown-{n}", "") for n in range(9)])
    assert sum(map(len, found.values())) == 6 and set().union(*found.values()) == set("abcdef")


def test_without_a_validation_split_some_speakers_of_training_choose() -> None:
    data = [recording(f"{speaker}-{n}", speaker) for speaker in "abc" for n in range(3)]
    found = speakers([*data, recording("t", "t", "test-other")])
    assert found["test"] == {"t"} and len(found["dev"]) == 1 and found["train"] | found["dev"] == set("abc")
    with pytest.raises(NotProbed, match=r"known speakers for the part train; .* or train and test and two speakers"):
        speakers([recording("a", "a"), recording("t", "t", "test")])


def test_no_more_frames_are_kept_than_the_settings_say() -> None:
    data = [recording(f"{speaker}-{n}", speaker) for speaker in "abcdef" for n in range(40)]
    for frames in (10, 50, 1000):
        requests = list(phone_task("data", data, settings(frames)).requests())
        assert all(request.phone_frames >= 1 for request in requests)
        assert sum(request.phone_frames for request in requests) <= 2.5 * frames
