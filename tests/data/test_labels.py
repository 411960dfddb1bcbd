import dataclasses
import hashlib
import json
import os
import tracemalloc

import numpy as np
import pytest
import torch
from torchaudio.models import hubert_base

from speechssl.audio.mfcc import mfcc
from speechssl.data.labels import LabelInfo, check_labels_fit, read_labels, write_labels
from speechssl.data.manifest import read_manifest, write_manifest
from speechssl.data.recording_labels import TopicInfo, check_topics_fit, read_topics, write_topics
from speechssl.errors import UserError

SAMPLES = [16000, 24000, 40000]


@pytest.fixture
def manifest(tmp_path):
    write_manifest(tmp_path / "train.tsv", tmp_path, [(f"{n}.wav", samples) for n, samples in enumerate(SAMPLES)])
    return read_manifest(tmp_path / "train.tsv")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows(rate=100, k=5):
    return [np.arange(samples * rate // 16000 - 2) % k for samples in SAMPLES]


def info(manifest, rate=100.0, k=5):
    return LabelInfo(rate, k, "mfcc", "0" * 64, sha256(manifest.file))


def test_file_is_fairseq_s_and_the_sidecar_describes_it(tmp_path, manifest):
    path = tmp_path / "train.km"
    written = write_labels(path, iter(rows()), info(manifest))
    lines = path.read_text().splitlines()
    assert [list(map(int, line.split(" "))) for line in lines] == [row.tolist() for row in rows()]
    sidecar = json.loads((tmp_path / "train.km.json").read_text())
    assert sidecar == dataclasses.asdict(written)
    assert sidecar["sha256"] == sha256(path)
    assert sidecar["utterances"] == 3
    labels = read_labels(path)
    assert len(labels) == 3
    assert labels[1].dtype == np.int32
    np.testing.assert_array_equal(labels[-1], rows()[2])
    check_labels_fit(labels, manifest)


def test_labels_of_an_existing_fairseq_user_need_a_frame_rate(tmp_path, manifest):
    path = tmp_path / "train.km"
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows()))
    with pytest.raises(UserError, match="frame rate"):
        read_labels(path)
    labels = read_labels(path, frame_rate=100.0)
    assert labels.info.k == 5
    check_labels_fit(labels, manifest)


@pytest.fixture(scope="module")
def hubert_convolutions():
    return hubert_base().feature_extractor


@pytest.mark.parametrize("samples", [480, 16000, 16079, 16080, 16081, 159999])
def test_labels_of_real_front_ends_fit(tmp_path, samples, hubert_convolutions):
    write_manifest(tmp_path / "train.tsv", tmp_path, [("a.wav", samples)])
    manifest = read_manifest(tmp_path / "train.tsv")
    waveform = torch.randn(samples)
    with torch.inference_mode():
        hubert_frames = hubert_convolutions(waveform[None], None)[0].shape[1]
    for rate, frames in [(100.0, len(mfcc(waveform))), (50.0, hubert_frames)]:
        path = tmp_path / f"{rate}.km"
        write_labels(path, [np.zeros(frames, int)], info(manifest, rate))
        check_labels_fit(read_labels(path), manifest)


def test_labels_that_do_not_fit_name_the_first_utterance(tmp_path, manifest):
    path = tmp_path / "train.km"
    wrong = rows()
    wrong[1] = wrong[1][:-4]
    write_labels(path, wrong, info(manifest))
    with pytest.raises(UserError, match=r"line 2 has 144 labels for 1\.wav.*about 150 at 100 Hz \(1 of 3"):
        check_labels_fit(read_labels(path), manifest)


def test_a_wrong_frame_rate_is_found(tmp_path, manifest):
    path = tmp_path / "train.km"
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows(rate=50)))
    with pytest.raises(UserError, match=r"3 of 3.*frame rate"):
        check_labels_fit(read_labels(path, frame_rate=100.0), manifest)
    write_labels(path, rows(), info(manifest))
    with pytest.raises(UserError, match="frame_rate 100, not 50"):
        read_labels(path, frame_rate=50.0)


def test_lines_and_manifest_must_be_those_of_the_labels(tmp_path, manifest):
    path = tmp_path / "train.km"
    write_labels(path, rows()[:2], info(manifest))
    with pytest.raises(UserError, match=r"2 lines .* 3 utterances"):
        check_labels_fit(read_labels(path), manifest)
    write_labels(path, rows(), info(manifest))
    check_labels_fit(read_labels(path), manifest)
    manifest.file.write_text(manifest.file.read_text().replace("0.wav", "9.wav"))
    with pytest.raises(UserError, match="has changed since"):
        check_labels_fit(read_labels(path), read_manifest(manifest.file))


def test_changed_and_broken_label_files_are_refused(tmp_path, manifest):
    path = tmp_path / "train.km"
    write_labels(path, rows(), info(manifest))
    whole = path.read_text()
    path.write_text(whole.replace("3", "4", 1))
    with pytest.raises(UserError, match="not the file that"):
        read_labels(path)
    write_labels(path, [np.array([0, 7])], info(manifest))
    with pytest.raises(UserError, match="outside 0 to 4"):
        read_labels(path)[0]
    path.with_name("train.km.json").unlink()
    path.write_text("0 1 x\n")
    with pytest.raises(UserError, match="whole numbers"):
        read_labels(path, frame_rate=100.0)
    described = dataclasses.replace(info(manifest), utterances=1, sha256=sha256(path))
    path.with_name("train.km.json").write_text(json.dumps(dataclasses.asdict(described)))
    with pytest.raises(UserError, match=r"line 1 .*whole numbers"):
        read_labels(path)[0]


@pytest.mark.parametrize("in_place", [False, True])
def test_labels_made_anew_are_not_mixed_with_those_that_were_opened(tmp_path, manifest, in_place):
    path = tmp_path / "train.km"
    write_labels(path, rows(), info(manifest))
    os.utime(path, ns=(1, 1))
    opened = read_labels(path)
    np.testing.assert_array_equal(opened[1], rows()[1])
    if in_place:  # as large as before
        path.write_bytes(path.read_bytes()[::-1])
    else:
        write_labels(path, rows(k=4), info(manifest))
    with pytest.raises(UserError, match=r"train\.km has changed while it was being read"):
        opened[1]


def test_lines_of_other_programs_are_read_as_python_splits_them(tmp_path):
    path = tmp_path / "train.km"
    lines = ["0 1 22", "7", "", " ", " 0 1", "0  1", "0\t1", "0 1 ", "0 1\r", "+1 2", "0 1"]
    path.write_bytes("\n".join(lines).encode())
    labels = read_labels(path, frame_rate=100.0)
    assert labels.counts.tolist() == [len(line.split()) for line in lines]
    assert [labels[index].tolist() for index in range(len(lines))] == [list(map(int, line.split())) for line in lines]


def test_rows_without_labels_are_counted_as_such(tmp_path, manifest):
    written = [np.array([], int), np.array([4]), np.array([0, 11, 2])]
    write_labels(tmp_path / "train.km", written, info(manifest, k=12))
    labels = read_labels(tmp_path / "train.km")
    assert labels.counts.tolist() == [0, 1, 3]
    assert [row.tolist() for row in labels] == [[], [4], [0, 11, 2]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 1.5", "whole numbers"),
        ("0 1 -", "whole numbers"),
        ("0 -1", "outside"),
        (f"0 {10**20}", "outside"),
        (f"0\t{10**20}", "whole numbers"),
        (f"0 {2**31}", "outside"),
    ],
)
def test_what_is_no_label_is_refused_when_its_line_is_read(tmp_path, line, message):
    path = tmp_path / "train.km"
    path.write_text("0 1\n")
    labels = read_labels(path, frame_rate=100.0)
    labels.info = dataclasses.replace(labels.info, k=10**21)
    with pytest.raises(UserError, match=rf"line 1 .*{message}"):
        labels._parse(f"{line}\n".encode(), 0)


def test_opening_holds_places_not_labels(tmp_path, manifest):
    path = tmp_path / "train.km"
    write_labels(path, (np.full(2000, 77) for _ in range(500)), info(manifest, k=100))
    tracemalloc.start()
    labels = read_labels(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert labels[499].sum() == 77 * 2000
    assert path.stat().st_size == 3_000_000
    assert peak < 600_000


def topics_info(manifest):
    return TopicInfo(3, "bigrams", "1" * 64, sha256(manifest.file), "2" * 64)


def test_topics_come_back_and_are_tied_to_their_manifest(tmp_path, manifest):
    path = tmp_path / "train.topic"
    posteriors = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.2, 0.5, 0.3]], dtype=np.float32)
    write_topics(path, posteriors.argmax(1), posteriors, topics_info(manifest))
    assert path.read_text() == "0\n2\n1\n"
    topics = read_topics(path)
    np.testing.assert_array_equal(topics.labels, [0, 2, 1])
    np.testing.assert_array_equal(topics.posteriors, posteriors)
    assert topics.posteriors.dtype == np.float32
    assert topics.info.sha256 == sha256(path)
    check_topics_fit(topics, manifest)
    manifest.file.write_text(manifest.file.read_text().replace("0.wav", "9.wav"))
    with pytest.raises(UserError, match="has changed since"):
        check_topics_fit(topics, read_manifest(manifest.file))


def test_posteriors_stay_in_their_file_until_they_are_looked_at(tmp_path, manifest):
    posteriors = np.full((2000, 1000), 1e-3, dtype=np.float32)
    info = dataclasses.replace(topics_info(manifest), topics=1000)
    write_topics(tmp_path / "train.topic", np.zeros(2000, dtype=np.int64), posteriors, info)
    tracemalloc.start()
    topics = read_topics(tmp_path / "train.topic")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(topics.posteriors[1999], posteriors[1999])
    assert peak < posteriors.nbytes / 2


def test_topics_of_two_runs_are_not_mixed(tmp_path, manifest):
    path = tmp_path / "train.topic"
    write_topics(path, np.array([0, 1]), np.eye(2, 3), topics_info(manifest))
    with pytest.raises(UserError, match="2 lines"):
        check_topics_fit(read_topics(path), manifest)
    path.write_text("1\n1\n")
    with pytest.raises(UserError, match="do not belong together"):
        read_topics(path)
    path.write_text("one\n1\n")
    with pytest.raises(UserError, match="broken"):
        read_topics(path)
