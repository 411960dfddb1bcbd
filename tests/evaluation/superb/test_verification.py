"""Speaker verification against s3prl's task, its scores by hand, and the command."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import roc_curve

from speechssl.cli.app import main
from speechssl.errors import UserError
from speechssl.evaluation.superb.data import TaskData, Utterance, read_task
from speechssl.evaluation.superb.problems.verification import SpeakerVerification, Trial, TrialScorer
from speechssl.evaluation.superb.tasks import TASKS
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.superb.conftest import write_csv, write_task
from tests.evaluation.superb.test_problems import DIM, features, gradients
from tests.evaluation.superb.test_run import arguments, superb

with guarded_s3prl():
    from s3prl.dataio.encoder.category import CategoryEncoder
    from s3prl.task.speaker_verification_task import SpeakerVerification as Theirs

COLUMNS = ("label", "first", "second")


def write_trials(folder: Path) -> Path:
    """Each utterance with each later one; the speaker of utterance n is n % 3."""
    for part in ("valid", "test"):
        pairs = [(first, second) for first in range(9) for second in range(first + 1, 9)]
        rows = [(str(int(a % 3 == b % 3)), f"{part}{a}", f"{part}{b}") for a, b in pairs]
        write_csv(folder / f"{part}_trials.csv", [dict(zip(COLUMNS, row, strict=True)) for row in rows], COLUMNS)
    return folder


@pytest.fixture(scope="module")
def speakers_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test part has no labels: its speakers are unknown."""
    folder = write_trials(write_task(tmp_path_factory.mktemp("speakers") / "tones"))
    test = folder / "test.csv"
    test.write_text(test.read_text().replace("path,label", "path,who"))
    return folder


def read(folder: Path) -> TaskData:
    return read_task(folder, ["label"], TASKS["asv"].labelled, TASKS["asv"].beside)


def named(*names: str) -> list[Utterance]:
    return [Utterance(name, Path("x"), 1, {}) for name in names]


def at(cosine: float) -> torch.Tensor:
    return torch.tensor([cosine, (1 - cosine**2) ** 0.5])


def test_loss_and_trials_are_s3prl_s(speakers_dir: Path):
    data = read(speakers_dir)
    problem = SpeakerVerification(data, ["label"])
    head = problem.head(DIM)
    other = copy.deepcopy(head)
    lines = data.beside["test"]
    trials = [(int(line.cells["label"]), line.cells["first"], line.cells["second"]) for line in lines]
    task = Theirs(other.network, CategoryEncoder(["a", "b", "c"]), trials, "amsoftmax", {"margin": 0.4, "scale": 30})
    task.loss = other.criterion
    utterances = data.parts["train"][:9]
    frames, lengths = features(9, 40)
    classes = torch.tensor([task.category.encode(item.labels["label"]) for item in utterances])
    expected, _ = task.train_step(frames, lengths, classes, ["x"] * 9)
    loss = problem.loss(head, frames, lengths, utterances)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for ours, theirs in zip(gradients(head), gradients(other), strict=True):
        torch.testing.assert_close(ours, theirs)
    head.eval()
    task.eval()
    tests = data.parts["test"]
    _, cached = task.test_step(frames, lengths, np.array([item.name for item in tests]), None)
    reduced = task.test_reduction([cached], None)
    scores = problem.test_scorer(list, []).scores(problem.predict(head, frames, lengths, tests), tests)
    assert scores == {"eer": pytest.approx(reduced["EER"]), "min_dcf": pytest.approx(reduced["minDCF"])}


def test_the_loss_has_the_settings_of_superb():
    with guarded_s3prl():
        from s3prl.problem import SuperbASV
    assert SuperbASV().default_config()["build_task"]["loss_conf"] == {"margin": 0.4, "scale": 30}


def test_scores_by_hand():
    """At any threshold from 0.3 to 0.6, one of four is refused wrongly and one of four accepted wrongly."""
    cosines = {1: [0.9, 0.8, 0.6, 0.3], 0: [0.7, 0.2, 0.1, 0.0]}
    names = {same: [f"{same}-{row}" for row in range(4)] for same in cosines}
    trials = [Trial(same, "anchor", name) for same in cosines for name in names[same]]
    predictions = [at(1.0), *(at(cosine) for of_one in cosines.values() for cosine in of_one)]
    scorer = TrialScorer(trials)
    utterances = named("anchor", *names[1], *names[0])
    # Of the costs, .01 x refused + .99 x accepted over .01, that with none accepted is the least: half are refused.
    assert scorer.scores(predictions, utterances) == {"eer": pytest.approx(0.25), "min_dcf": pytest.approx(0.5)}
    assert scorer.report(predictions, utterances)["anchor 0-1"] == pytest.approx(0.2)
    assert scorer.scores(predictions[:5], utterances[:5]) == {}, "all of one speaker: no rate of errors"


def test_a_head_that_overflowed_guesses():
    trials = [Trial(1, "a", "b"), Trial(0, "a", "c")]
    broken = [torch.full((2,), float("nan"))] * 3
    assert TrialScorer(trials).scores(broken, named("a", "b", "c"))["eer"] == pytest.approx(0.5)


def test_training_hears_eight_seconds(speakers_dir: Path):
    problem = SpeakerVerification(read(speakers_dir), ["label"])
    long = [Utterance("x", Path("x"), 200_000, {}, first_sample=7)]
    (cut,) = problem.pieces("train", long, 50.0)
    assert (cut.samples, cut.first_sample) == (128_000, 7)
    assert problem.pieces("test", long, 50.0) == long


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,test0,test99", r"test_trials\.csv, line 2: no utterance 'test99' in .*test\.csv"),
        ("yes,test0,test1", r"test_trials\.csv, line 2: the label 'yes' is neither 1"),
        ("1,test0,test1", r"test_trials\.csv, line 2 and all after it: trials of label 1 and of label 0 are needed"),
    ],
)
def test_wrong_trials_are_named_with_their_line(tmp_path: Path, row: str, message: str):
    folder = write_trials(write_task(tmp_path))
    (folder / "test_trials.csv").write_text(f"label,first,second\n{row}\n")
    with pytest.raises(UserError, match=message):
        SpeakerVerification(read(folder), ["label"])


def test_one_speaker_is_nothing_to_learn(speakers_dir: Path):
    data = read(speakers_dir)
    alone = [item for item in data.parts["train"] if item.labels["label"] == data.parts["train"][0].labels["label"]]
    with pytest.raises(UserError, match=r"has one speaker, '.*': there is nothing to tell apart"):
        SpeakerVerification(replace(data, parts={**data.parts, "train": alone}), ["label"])


def test_missing_trials_and_columns(tmp_path: Path):
    folder = write_trials(write_task(tmp_path))
    (folder / "valid_trials.csv").write_text("label,frst,second\n1,valid0,valid3\n")
    with pytest.raises(UserError, match=r"valid_trials\.csv has no column 'first'; did you mean 'frst'"):
        read(folder)
    (folder / "valid_trials.csv").write_text("label,first,second\n")
    with pytest.raises(UserError, match=r"valid_trials\.csv has no trials"):
        read(folder)
    (folder / "valid_trials.csv").unlink()
    with pytest.raises(UserError, match=r"valid_trials\.csv is missing; it needs the columns label, first, second"):
        read(folder)


def equal_error_rate(lines: list[str]) -> float:
    """Return where scikit-learn's curve has as many accepted wrongly as refused wrongly."""
    pairs, cosines = zip(*(line.split("\t") for line in lines), strict=True)
    same = [int(pair.split()[0][-1]) % 3 == int(pair.split()[1][-1]) % 3 for pair in pairs]
    accepted, right, _ = roc_curve(same, [float(cosine) for cosine in cosines])
    rate = float(np.interp(0, accepted + right - 1, accepted))
    assert 0 < rate < 1
    return rate


def test_the_command(speakers_dir, tmp_path, encoder_dir):
    given = ["baselines=[]", "groups=[gender,who]", "steps=6", "check_every=2", "lr=[1e-3]"]
    whole = superb("asv", speakers_dir, tmp_path / "whole", encoder_dir, *given)
    score = whole["scores"]["tiny"][0]
    assert set(score["test"]) == {"eer", "min_dcf"} and 0 <= score["test"]["eer"] <= 1
    assert score["groups"]["who"]["a"] == {"utterances": 3.0}
    assert whole["task"]["notes"][-1] == "trials: valid 36, test 36" and whole["task"]["classes"] == {"label": 3}
    assert "| tiny    |     - |     - |     - |" in (tmp_path / "whole" / "results.md").read_text()
    predictions = (tmp_path / "whole" / "asv" / "predictions" / "tiny-1-seed1.tsv").read_text().splitlines()
    assert len(predictions) == 37 and predictions[1].startswith("test0 test1\t")
    assert score["test"]["eer"] == pytest.approx(equal_error_rate(predictions[1:]), abs=1e-4)


def test_an_utterance_too_short_for_the_network_is_named(tmp_path: Path, encoder_dir: Path, capsys):
    folder = write_trials(write_task(tmp_path / "task"))
    soundfile.write(folder / "test-2.wav", np.full(3000, 0.1), 16000)
    assert main(arguments("asv", folder, tmp_path / "out", encoder_dir, "baselines=[]", "steps=1")) == 1
    captured = capsys.readouterr().err
    assert "shorter than 16 frames of it" in captured and "test-2.wav" in captured


def test_a_check_names_missing_trials(tmp_path: Path, capsys):
    folder = write_task(tmp_path / "task")
    assert main(["evaluate", "benchmark=superb", "task=asv", "check=true", f"data_dir={folder}"]) == 1
    said = capsys.readouterr().out
    assert "missing" in said and "valid_trials.csv" in said and "test_trials.csv" in said


def test_another_device_learns_and_scores_too(speakers_dir: Path, tmp_path, encoder_dir, other_device):
    given = ["baselines=[]", "steps=2", "check_every=1", "lr=[1e-3]"]
    with other_device():
        assert superb("asv", speakers_dir, tmp_path / "out", encoder_dir, *given)["scores"]["tiny"]
