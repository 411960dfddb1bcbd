"""Losses, predictions and scores against s3prl's tasks, given the same head and features."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from speechssl.errors import UserError
from speechssl.evaluation.superb.data import Utterance, read_task
from speechssl.evaluation.superb.problems.classification import Classification, KeywordSpotting
from speechssl.evaluation.superb.problems.transcription import PhoneRecognition, SpeechRecognition
from speechssl.evaluation.superb.tasks import TASKS
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.superb.conftest import write_csv, write_task

with guarded_s3prl():
    from s3prl.dataio.encoder.category import CategoryEncoder, CategoryEncoders
    from s3prl.dataio.encoder.tokenizer import CharacterTokenizer, PhonemeTokenizer
    from s3prl.task.speech2text_ctc_task import Speech2TextCTCTask
    from s3prl.task.utterance_classification_task import (
        UtteranceClassificationTask,
        UtteranceMultiClassClassificationTask,
    )

DIM = 6


def features(utterances: int, longest: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded frames; s3prl's mean reads the valid ones only."""
    lengths = torch.tensor([longest - 3 * (number % 4) for number in range(utterances)])
    return torch.randn(utterances, longest, DIM), lengths


def means(frames: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean over time of each utterance, as one frame."""
    pooled = [frame[:length].mean(dim=0, keepdim=True) for frame, length in zip(frames, lengths, strict=True)]
    return torch.stack(pooled), torch.ones(len(frames), dtype=torch.long)


def gradients(head: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.grad for parameter in head.parameters()]


def test_one_class_from_means_is_s3prl_s_from_frames(task_dir: Path):
    data = read_task(task_dir, ["label"])
    problem = Classification(data, ["label"])
    utterances = data.parts["train"][:8]
    frames, lengths = features(8)
    head = problem.head(DIM)
    other = copy.deepcopy(head)
    names = [utterance.labels["label"] for utterance in utterances]
    task = UtteranceClassificationTask(other, CategoryEncoder(names))
    classes = torch.tensor([task.category.encode(name) for name in names])
    expected, cached = task("train", frames, lengths, classes, names, ["x"] * 8)
    loss = problem.loss(head, *means(frames, lengths), utterances)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for ours, theirs in zip(gradients(head), gradients(other), strict=True):
        torch.testing.assert_close(ours, theirs)
    predictions = problem.predict(head, *means(frames, lengths), utterances)
    assert [label for (label,) in predictions] == cached["prediction"]
    reduced = task.reduction("test", [cached])
    assert problem.scores(predictions, utterances)["accuracy"] == reduced["accuracy"]


def test_several_columns_are_s3prl_s_intents(task_dir: Path):
    columns = ["label", "second"]
    data = read_task(task_dir, columns)
    problem = Classification(data, columns)
    utterances = data.parts["train"][:8]
    frames, lengths = features(8)
    head = problem.head(DIM)
    rows = [[utterance.labels[column] for column in columns] for utterance in utterances]
    task = UtteranceMultiClassClassificationTask(head, CategoryEncoders([["a", "b", "c"]] * 2))
    classes = torch.tensor([task.categories.encode(row) for row in rows])
    expected, cached = task("train", frames, lengths, classes, np.array(rows, dtype=object), ["x"] * 8)
    torch.testing.assert_close(problem.loss(head, *means(frames, lengths), utterances), expected)
    predictions = problem.predict(head, *means(frames, lengths), utterances)
    assert predictions == cached["prediction"]
    assert problem.scores(predictions, utterances)["accuracy"] == task.reduction("test", [cached])["accuracy"]


def test_all_columns_must_be_right(task_dir: Path):
    data = read_task(task_dir, ["label", "second"])
    utterances = data.parts["test"][:2]
    truth = [[utterance.labels["label"], utterance.labels["second"]] for utterance in utterances]
    half = [truth[0], [truth[1][0], "none"]]
    assert Classification(data, ["label", "second"]).scores(half, utterances) == {"accuracy": 0.5}


def test_keywords_are_chosen_by_the_mean_over_classes_and_tested_by_utterances(task_dir: Path):
    """As s3prl's `BalancedWeightedSampler` draws the validation part; that mean is scikit-learn's balanced accuracy."""
    data = read_task(task_dir, ["label"])
    problem = KeywordSpotting(data, ["label"])
    utterances = [Utterance(str(row), Path("x"), 9, {"label": label}) for row, label in enumerate("aaaaaabbc")]
    said = list("aaaaabbaa")
    predictions = [[label] for label in said]
    expected = balanced_accuracy_score(list("aaaaaabbc"), said)
    assert problem.validation_scores(predictions, utterances)["accuracy"] == pytest.approx(expected)
    assert problem.scores(predictions, utterances)["accuracy"] == pytest.approx(6 / 9)
    assert TASKS["ks"].problem is KeywordSpotting


@pytest.mark.parametrize(
    ("make", "column", "tokenizer", "metrics"),
    [
        (PhoneRecognition, "phones", PhonemeTokenizer(["a", "b", "c"]), ["per"]),
        (SpeechRecognition, "transcription", CharacterTokenizer([" ", "a", "b", "c"]), ["wer", "cer"]),
    ],
)
def test_transcripts_are_s3prl_s(task_dir: Path, make, column: str, tokenizer, metrics: list[str]):
    data = read_task(task_dir, [column])
    problem = make(data, [column])
    utterances = data.parts["train"][:4]
    head = problem.head(DIM).eval()
    task = Speech2TextCTCTask(head, tokenizer, log_metrics=metrics)
    texts = [utterance.labels[column] for utterance in utterances]
    frames, lengths = features(4)
    encoded = [torch.tensor(tokenizer.encode(text)) for text in texts]
    ids = torch.nn.utils.rnn.pad_sequence(encoded, batch_first=True)
    expected, _ = task("train", frames, lengths, np.array(texts, dtype=object), ids, np.array(["x"] * 4, dtype=object))
    torch.testing.assert_close(problem.loss(head, frames, lengths, utterances), expected)
    cached = []
    for row in range(4):  # one by one: s3prl decodes the padding of a batch as well
        one = slice(row, row + 1)
        given = (frames[one, : lengths[row]], lengths[one], np.array(texts[one], dtype=object))
        _, found = task("test", *given, ids[one], np.array(["x"], dtype=object))
        cached.append(found)
    predictions = problem.predict(head, frames, lengths, utterances)
    assert predictions == [found["prediction"][0] for found in cached]
    assert any(predictions), "an untrained head should say something"
    reduced = task.reduction("test", cached)
    scores = problem.scores(predictions, utterances)
    assert scores == {name: pytest.approx(reduced[name]) for name in metrics}


def test_error_rates_by_hand(task_dir: Path):
    problem = SpeechRecognition(read_task(task_dir, ["transcription"]), ["transcription"])
    utterances = [Utterance(str(n), Path("x"), 1, {"transcription": text}) for n, text in enumerate(["ab a", "c c c"])]
    scores = problem.scores(["ab b", "c c"], utterances)
    assert scores == {"wer": pytest.approx(2 / 5), "cer": pytest.approx(3 / 9)}


@pytest.mark.parametrize(
    ("make", "columns", "column", "value"),
    [
        (Classification, ["label"], "label", "d"),
        (PhoneRecognition, ["phones"], "phones", "a d"),
        (SpeechRecognition, ["transcription"], "transcription", "ad a"),
    ],
)
def test_labels_that_training_does_not_have_are_named_with_their_files(tmp_path, make, columns, column, value):
    import csv

    folder = write_task(tmp_path)
    with open(folder / "test.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows[4:]:
        row[column] = value
    write_csv(folder / "test.csv", rows)
    named = "; ".join(rf"\S*test-{number}\.wav \('{value}'\)" for number in (4, 5, 6))
    with pytest.raises(UserError, match=rf"test\.csv: 5 utterances .*: {named} and 2 more; "):
        make(read_task(folder, columns), columns)


def test_a_transcript_has_one_column(task_dir: Path):
    with pytest.raises(UserError, match="reads one column"):
        PhoneRecognition(read_task(task_dir, ["phones", "label"]), ["phones", "label"])
