"""Diarization against s3prl's task and data set, its scores by hand, and the command."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.nn.utils.rnn import pad_sequence

from speechssl.errors import UserError
from speechssl.evaluation.superb.data import TaskData, Utterance, read_task
from speechssl.evaluation.superb.problems import diarization
from speechssl.evaluation.superb.problems.diarization import Chunk, Diarization, RecordingScorer, Segment, _chunks
from speechssl.evaluation.superb.scores import _by_value
from speechssl.evaluation.superb.store import StoredStates
from speechssl.evaluation.superb.tasks import TASKS
from speechssl.evaluation.superb.training import Part, Plan, train_head
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.superb.conftest import write_csv
from tests.evaluation.superb.test_problems import DIM
from tests.evaluation.superb.test_run import superb

with guarded_s3prl():
    from s3prl.dataio.dataset.diarization import DiarizationDataset
    from s3prl.task.diarization import DiarizationPIT

COLUMNS = ("id", "start", "end", "speaker")
SIZES = {"train": 8, "valid": 3, "test": 3}
TONES = {"low": 400.0, "high": 1900.0}


def write_recordings(folder: Path, longest: float = 2.0) -> Path:
    """Each speaker is a tone; the first begins, the second speaks into it and ends.

    The last recording of the test part has `longest` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for part, size in SIZES.items():
        rows, segments = [], []
        for number in range(size):
            seconds = longest if part == "test" and number == size - 1 else 1.0 + 0.1 * number
            first, second = sorted(TONES, reverse=bool(number % 2))
            spans = [(0.1, 0.6 * seconds, first), (0.5 * seconds, seconds - 0.1, second)]
            time = np.arange(round(16000 * seconds)) / 16000
            wave = 0.01 * np.random.default_rng(number).standard_normal(len(time))
            for start, end, speaker in spans:
                wave += 0.2 * np.sin(2 * np.pi * TONES[speaker] * time) * ((start <= time) & (time < end))
                cells = (f"{part}{number}", f"{start:.3f}", f"{end:.3f}", speaker)
                segments.append(dict(zip(COLUMNS, cells, strict=True)))
            soundfile.write(folder / f"{part}-{number}.wav", wave, 16000)
            rows.append({"id": f"{part}{number}", "path": f"{part}-{number}.wav"})
        write_csv(folder / f"{part}.csv", rows, ("id", "path"))
        write_csv(folder / f"{part}_segments.csv", segments, COLUMNS)
    return folder


def read(folder: Path) -> TaskData:
    return read_task(folder, (), beside=TASKS["sd"].beside)


@pytest.fixture(scope="module")
def recordings_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings") / "tones", longest=21.0)


@pytest.fixture(scope="module")
def data(recordings_dir: Path) -> TaskData:
    return read(recordings_dir)


def chunk(targets: list[list[int]], recording: str = "x") -> Chunk:
    """A chunk of these frames, a row a speaker, of 10 ms."""
    truth = torch.tensor(targets, dtype=torch.float32).T
    frames = {"frame": 160, "targets": truth, "reference": truth}
    return Chunk(recording, Path("x"), 160 * len(truth), {}, recording=recording, **frames)


def logits(speech: list[list[float]]) -> torch.Tensor:
    """What gives these probabilities."""
    return torch.tensor(speech).T.clamp(1e-3, 1 - 1e-3).logit()


def write_kaldi(folder: Path, data: TaskData, part: str) -> Path:
    folder.mkdir()
    recordings = data.parts[part]
    lines = [line.cells for line in data.beside[part]]
    speakers = [f"{line['id']}-{line['speaker']}" for line in lines]
    for name, content in {
        "wav.scp": [f"{item.name} {item.audio}" for item in recordings],
        "reco2dur": [f"{item.name} {item.samples / 16000}" for item in recordings],
        "segments": [f"u{n} {line['id']} {line['start']} {line['end']}" for n, line in enumerate(lines)],
        "utt2spk": [f"u{n} {speaker}" for n, speaker in enumerate(speakers)],
        "spk2utt": [f"{speaker} u{n}" for n, speaker in enumerate(speakers)],
    }.items():
        (folder / name).write_text("".join(f"{line}\n" for line in content))
    return folder


def test_chunks_and_labels_are_s3prl_s(data: TaskData, tmp_path: Path):
    theirs = list(DiarizationDataset("test", write_kaldi(tmp_path / "kaldi", data, "test"), 2000, 160, num_speakers=2))
    ours = Diarization(data, ()).pieces("test", data.parts["test"], 100.0)
    assert [item.name for item in ours] == ["test0#0", "test1#0", "test2#0", "test2#1"]
    for item, other in zip(ours, theirs, strict=True):
        assert item.recording == other["record_id"] and item.samples == len(other["x"])
        np.testing.assert_array_equal(item.targets.numpy(), other["label"])
        np.testing.assert_allclose(item.read().numpy(), other["x"], atol=1e-4)


@pytest.mark.parametrize(("frame", "cut"), [(320, 3), (640, 2)])
def test_a_group_counts_recordings_whatever_the_encoder_cuts_them_into(frame: int, cut: int):
    recordings = [Utterance(name, Path("x"), 16000 * 100, {"gender": "f"}) for name in "ab"]
    chunks = [chunk for item in recordings for chunk in _chunks(item, [Segment(0, 50, 0)], frame)]
    assert len(chunks) == 2 * cut
    said = [torch.zeros(len(chunk.targets), 2) - 1 for chunk in chunks]
    assert _by_value(RecordingScorer(0.5, 1), said, chunks, "gender")["f"]["utterances"] == 2


def test_chunks_at_the_rate_of_the_encoder_cover_the_recording():
    assert diarization._cuts(4500) == [(0, 2000), (2000, 4000), (4000, 4500)]
    assert diarization._cuts(4009) == [(0, 2000), (2000, 4009)], "nine frames are no chunk of their own"
    assert diarization._cuts(4000) == [(0, 2000), (2000, 4000)]
    assert diarization._cuts(7) == [(0, 7)] and diarization._cuts(0) == [(0, 0)]


def test_speech_that_goes_beyond_a_chunk_is_speech_in_it():
    segments = [diarization.Segment(1.0, 30.0, 1)]
    assert diarization._targets(segments, 500, 600, 160)[:, 1].all()
    assert diarization._targets(segments, 0, 200, 160)[:, 1].sum() == 100
    assert not diarization._targets(segments, 3000, 3100, 160).any()


def test_loss_and_validation_error_are_s3prl_s(data: TaskData):
    problem = Diarization(data, ())
    chunks = problem.pieces("train", data.parts["train"], 50.0)
    head = problem.head(DIM)
    task = DiarizationPIT(head)
    frames = torch.randn(2, 49, DIM)
    some = [chunks[0], chunks[0]]
    truth = torch.stack([item.targets for item in some])
    lengths, counts = torch.tensor([49, 49]), torch.tensor([50, 50])
    expected, _ = task("train", frames, lengths, truth, counts, ["x"] * 2, [0, 0])
    torch.testing.assert_close(problem.loss(head, frames, lengths, some), expected)
    predictions, cached = [], []
    for item in chunks:
        count = len(item.targets)
        frames, lengths = 3 * torch.randn(1, count - 1, DIM), torch.tensor([count - 1])
        _, found = task("valid", frames, lengths, item.targets[None], torch.tensor([count]), ["x"], [0])
        cached.append(found)
        predictions += [found.detach() for found in problem.predict(head, frames, lengths, [item])]
    reduced = task.reduction("valid", cached)
    assert problem.scores(predictions, chunks)["der"] == pytest.approx(reduced["der"])


def test_a_batch_gives_each_chunk_its_own_loss(data: TaskData):
    problem = Diarization(data, ())
    chunks = problem.pieces("train", data.parts["train"][:2], 50.0)
    head = problem.head(DIM)
    counts = [len(item.targets) for item in chunks]
    frames, lengths = torch.randn(2, max(counts), DIM), torch.tensor([count - 1 for count in counts])
    alone = [
        problem.loss(head, frames[row : row + 1, :length], lengths[row : row + 1], chunks[row : row + 1])
        for row, length in enumerate(lengths)
    ]
    expected = sum(loss * count for loss, count in zip(alone, counts, strict=True)) / sum(counts)
    torch.testing.assert_close(problem.loss(head, frames, lengths, chunks), expected)


class DrawnStates:
    """States of noise, as many frames as chunks have."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.frames = np.array([len(item.targets) for item in chunks])
        self._states = [torch.randn(len(item.targets), 2, DIM).half() for item in chunks]

    def batch(self, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        return pad_sequence([self._states[row] for row in rows], batch_first=True), torch.tensor(
            self.frames[list(rows)]
        )

    batches = StoredStates.batches


def test_an_update_in_several_passes_has_the_gradient_of_the_whole(data: TaskData, tmp_path: Path):
    """Chunks of other lengths in each pass; the mean is over frames."""
    problem = Diarization(data, ())
    chunks = problem.pieces("train", data.parts["train"], 100.0)
    train = Part(chunks, DrawnStates(chunks))
    plan = Plan(1e-3, 1, steps=1, batch_size=8, check_every=1, device=torch.device("cpu"), clip=1e9)
    whole, parts = (
        train_head(problem, train, train, (2, DIM), replace(plan, passes=passes), tmp_path / str(passes)).head
        for passes in (1, 3)
    )
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_the_settings_are_those_of_superb():
    with guarded_s3prl():
        from s3prl.problem import SuperbSD
    theirs, ours = SuperbSD().default_config(), TASKS["sd"]
    assert theirs["build_dataset"]["chunk_size"] == diarization._CHUNK
    assert tuple(theirs["scoring"]["thresholds"]) == diarization._THRESHOLDS
    assert tuple(theirs["scoring"]["median_filters"]) == diarization._MEDIANS
    at_once = ours.batch_size / ours.passes * diarization._CHUNK
    assert at_once * 13 * 768 * 2 < 1e9, "bytes of the hidden states of HuBERT Base"


def test_errors_by_hand():
    """Twelve frames of speech: one is missed where both speak, one is false, two are given to the wrong speaker."""
    truth = chunk([[1, 1, 1, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]])
    second = [1, 1, 0, 0, 1, 1, 1, 1, 1, 1]  # wrong in the first two frames
    first = [0, 0, 1, 1, 1, 0, 0, 0, 0, 1]  # missing there; missed at 5, false at 9
    said = logits([second, first])
    assert RecordingScorer(0.5, 1).der([said], [truth]) == pytest.approx(4 / 12)
    assert diarization._chunk_der([said], [truth]) == pytest.approx(4 / 12)
    silent = chunk([[0] * 4, [0] * 4])
    assert diarization._chunk_der([said, logits([[1] * 4, [0] * 4])], [truth, silent]) == pytest.approx(2 / 12)


def test_one_order_of_speakers_a_recording_and_thresholds():
    one, other = [0.9] * 6 + [0.1] * 6, [0.1] * 6 + [0.9] * 6
    truth = [[1] * 6 + [0] * 6, [0] * 6 + [1] * 6]
    chunks = [chunk(truth, "x"), chunk(truth, "x"), chunk(truth, "y")]
    said = [logits([one, other]), logits([other, one]), logits([other, one])]
    assert diarization._chunk_der(said, chunks) == 0
    assert RecordingScorer(0.5, 1).der(said, chunks) == pytest.approx(1 / 3), "half of the first recording is swapped"
    assert RecordingScorer(0.95, 1).der(said, chunks) == 1, "nothing is said: all is missed"


def test_the_median_filter_and_the_report():
    truth = [[1] * 20 + [0] * 20, [0] * 20 + [1] * 20]
    glitch = [list(map(float, row)) for row in truth]
    glitch[0][8], glitch[1][8] = 0.0, 1.0
    plain, smooth = RecordingScorer(0.5, 1), RecordingScorer(0.5, 11)
    said, chunks = [logits(glitch)], [chunk(truth)]
    # The filter sees zeros beyond the edges: it is the end of the second speaker that holds.
    assert plain.der(said, chunks) == pytest.approx(1 / 40) and smooth.der(said, chunks) == 0
    assert plain.report(said, chunks) == {"x": [[0, 0.0, 0.08], [0, 0.09, 0.2], [1, 0.08, 0.09], [1, 0.2, 0.4]]}
    assert smooth.report(said, chunks) == {"x": [[0, 0.0, 0.2], [1, 0.2, 0.4]]}


def test_the_test_part_counts_time_and_not_frames_of_the_encoder():
    """Frames of 40 ms that are as right as they can be: twice .02 s too early, .01 s short, .02 s behind the last."""
    recording = Utterance("x", Path("x"), 16320, {})
    segments = [diarization.Segment(0.1, 0.53, 0), diarization.Segment(0.9, 1.02, 1)]
    (whole,) = diarization._chunks(recording, segments, 640)
    assert len(whole.targets) == 25 and len(whole.reference) == 102
    said = [logits(whole.targets.T.tolist())]
    assert diarization._chunk_der(said, [whole]) == 0
    assert RecordingScorer(0.5, 1).der(said, [whole]) == pytest.approx(0.07 / 0.55)


def test_the_setting_is_chosen_on_validation(data: TaskData):
    problem = Diarization(data, ())
    truth = [chunk([[1] * 30, [0] * 30])]
    scorer = problem.test_scorer(lambda: [logits([[0.65] * 30, [0.45] * 30])], truth)
    scores = scorer.scores([logits([[0.9] * 30, [0.55] * 30])], truth)
    assert scores == {"der": 1.0, "chunk_der": 1.0, "threshold": 0.5, "median_filter": 1.0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("test9,0.1,0.2,low", r"test_segments\.csv, line 2: no recording 'test9' in .*test\.csv"),
        ("test0,0.1,0.2,third", r"test_segments\.csv, line 4: recording 'test0' has more than two speakers"),
        ("test0,0.1,x,low", r"test_segments\.csv, line 2: start and end are not both numbers"),
        ("test0,0.5,0.2,low", r"test_segments\.csv, line 2: 0\.5 to 0\.2 s is no stretch of a recording of 1\.00 s"),
        ("test0,0.5,inf,low", r"test_segments\.csv, line 2: 0\.5 to inf s is no stretch"),
        ("test0,2.5,2.9,low", r"test_segments\.csv, line 2: 2\.5 to 2\.9 s is no stretch"),
    ],
)
def test_wrong_segments_are_named_with_their_line(tmp_path: Path, row: str, message: str):
    folder = write_recordings(tmp_path)
    lines = (folder / "test_segments.csv").read_text().splitlines()
    (folder / "test_segments.csv").write_text("\n".join([lines[0], row, *lines[1:], ""]))
    with pytest.raises(UserError, match=message):
        Diarization(read(folder), ())


@pytest.mark.parametrize("name", ["test_segments.csv", "test_segments.rttm"])
def test_segments_that_are_not_utf8(tmp_path: Path, name: str):
    folder = write_recordings(tmp_path)
    (folder / "test_segments.csv").unlink()
    (folder / name).write_bytes("id,start,end,speaker\ntest0,0.1,0.2,é\n".encode("latin-1"))
    with pytest.raises(UserError, match=rf"{name} is not UTF-8 text"):
        read(folder)


def test_a_recording_without_segments_is_named(tmp_path: Path):
    folder = write_recordings(tmp_path)
    lines = (folder / "test_segments.csv").read_text().splitlines()
    (folder / "test_segments.csv").write_text("\n".join(line for line in lines if not line.startswith("test1")))
    with pytest.raises(UserError, match=r"test\.csv: 1 recordings have no segments: .*test-1\.wav; take them out"):
        Diarization(read(folder), ())


def test_rttm_stands_for_segments(recordings_dir: Path, tmp_path: Path):
    folder = write_recordings(tmp_path, longest=21.0)
    with open(folder / "test_segments.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    (folder / "test_segments.csv").unlink()
    with pytest.raises(UserError, match=r"test_segments\.csv \(or test_segments\.rttm\) is missing"):
        read(folder)
    lines = [f"SPKR-INFO {rows[0]['id']} 1 <NA> <NA> <NA> unknown low <NA> <NA>"]
    for row in rows:
        seconds = f"{float(row['end']) - float(row['start']):.3f}"
        lines.append(f"SPEAKER {row['id']} 1 {row['start']} {seconds} <NA> <NA> {row['speaker']} <NA> <NA>")
    rttm = folder / "test_segments.rttm"
    rttm.write_text("\n".join(lines))
    ours, theirs = (Diarization(read(one), ())._segments["test"] for one in (folder, recordings_dir))
    for name, segments in theirs.items():
        assert [(s.speaker, pytest.approx(s.start), pytest.approx(s.end)) for s in segments] == [
            (s.speaker, s.start, s.end) for s in ours[name]
        ]
    rttm.write_text("\n".join([*lines, "SPEAKER test0 1 0.1"]))
    with pytest.raises(UserError, match=r"test_segments\.rttm, line 8: 'SPEAKER', recording"):
        read(folder)


def test_the_command(tmp_path, encoder_dir):
    folder = write_recordings(tmp_path / "task")
    given = ["baselines=[]", "steps=20", "check_every=10", "lr=[1e-2]"]
    whole = superb("sd", folder, tmp_path / "whole", encoder_dir, *given)
    score = whole["scores"]["tiny"][0]
    assert score["test"]["der"] < 0.5 and score["valid"]["der"] < 0.5, "two tones are easily told"
    assert score["test"]["threshold"] in diarization._THRESHOLDS
    assert score["test"]["median_filter"] in diarization._MEDIANS
    assert whole["task"]["utterances"] == SIZES
    page = (tmp_path / "whole" / "results.md").read_text()
    assert "SD der ↓" in page and "no collar" in page
    lines = (tmp_path / "whole" / "sd" / "predictions" / "tiny-1-seed1.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == ["test0", "test1", "test2"]


def test_it_reads_no_column(data: TaskData):
    with pytest.raises(UserError, match="reads no column"):
        Diarization(data, ["label"])


def test_another_device_learns_and_scores_too(recordings_dir: Path, tmp_path, encoder_dir, other_device):
    given = ["baselines=[]", "steps=2", "check_every=1", "lr=[1e-2]"]
    with other_device():
        assert superb("sd", recordings_dir, tmp_path / "out", encoder_dir, *given)["scores"]["tiny"]
