"""Slot filling against s3prl's task, and its labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from speechssl.errors import UserError
from speechssl.evaluation.superb.data import Utterance, read_task
from speechssl.evaluation.superb.packed_lstm import PackedLstm
from speechssl.evaluation.superb.problems.slots import SlotFilling
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.superb.conftest import write_csv, write_task
from tests.evaluation.superb.test_problems import DIM, features
from tests.evaluation.superb.test_run import superb

with guarded_s3prl():
    from s3prl.dataio.dataset.encode import EncodeText
    from s3prl.dataio.encoder.tokenizer import CharacterSlotTokenizer
    from s3prl.metric.slot_filling import slot_type_f1, slot_value_cer
    from s3prl.task.speech2text_ctc_task import Speech2TextCTCTask

COLUMNS = ["transcription", "iob"]


@pytest.fixture(scope="module")
def problem(task_dir: Path) -> SlotFilling:
    return SlotFilling(read_task(task_dir, COLUMNS), COLUMNS)


def utterance(transcript: str, slots: str) -> Utterance:
    return Utterance("x", Path("x"), 1, {"transcription": transcript, "iob": slots})


def test_slots_are_s3prl_s(task_dir: Path, problem: SlotFilling, tmp_path: Path):
    utterances = read_task(task_dir, COLUMNS).parts["train"][:4]
    (tmp_path / "characters").write_text(" \na\nb\nc\n")
    (tmp_path / "slots").write_text("O\npitch_a\npitch_b\npitch_c")
    tokenizer = CharacterSlotTokenizer.load_from_file(tmp_path / "characters", tmp_path / "slots")
    head = problem.head(DIM).eval()
    task = Speech2TextCTCTask(head, tokenizer, log_metrics=["slot_type_f1", "slot_value_cer"])
    texts, slots = ([item.labels[column] for item in utterances] for column in COLUMNS)
    rows = list(EncodeText(texts, tokenizer, iob=slots))
    ids = torch.nn.utils.rnn.pad_sequence([row["class_ids"] for row in rows], batch_first=True)
    truth = np.array([row["labels"] for row in rows], dtype=object)
    frames, lengths = features(4)
    names = np.array(["x"] * 4, dtype=object)
    expected, _ = task("train", frames, lengths, truth, ids, names)
    torch.testing.assert_close(problem.loss(head, frames, lengths, utterances), expected)
    cached = []
    for row in range(4):  # one by one: s3prl decodes the padding of a batch as well
        one = slice(row, row + 1)
        _, found = task("test", frames[one, : lengths[row]], lengths[one], truth[one], ids[one], names[one])
        cached.append(found)
    predictions = problem.predict(head, frames, lengths, utterances)
    assert predictions == [found["prediction"][0] for found in cached]
    reduced = task.reduction("test", cached)
    assert problem.scores(predictions, utterances) == {name: pytest.approx(reduced[name]) for name in problem.metrics}


def test_scores_by_hand(problem: SlotFilling):
    truth = [utterance("ab a", "O pitch_a"), utterance("cc bb", "pitch_c pitch_b")]
    said = ["ab B-pitch_a a E-pitch_a", "B-pitch_c ca E-pitch_c bb"]
    scores = problem.scores(said, truth)
    # Of the second, one of two types is found and none is wrong: F1 2/3. Values: 'a' right, 'ca' for 'cc', '' for 'bb'.
    assert scores == {"slot_type_f1": pytest.approx((1 + 2 / 3) / 2), "slot_value_cer": pytest.approx(3 / 5)}


def test_without_slots_there_are_no_values(problem: SlotFilling):
    assert problem.scores(["a b"], [utterance("a b", "O O")]) == {"slot_type_f1": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iob": "O"}, "has 2 words and 1 slots"),
        ({"iob": "O pitch_d"}, "has the slot 'pitch_d', which none of training has"),
        ({"transcription": "a:b a"}, "has a ':' or ';' in its words"),
        ({"transcription": "ad a"}, "something in their transcription that training does not have"),
    ],
)
def test_wrong_slots_are_named_with_their_file(tmp_path: Path, change: dict[str, str], message: str):

    folder = write_task(tmp_path)
    with open(folder / "test.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows[4:]:
        row.update(change)
    write_csv(folder / "test.csv", rows)
    with pytest.raises(UserError, match=rf"test\.csv: .*{message}") as error:
        SlotFilling(read_task(folder, COLUMNS), COLUMNS)
    assert "test.csv: 5 utterances" in str(error.value)
    assert all(f"test-{number}.wav" in str(error.value) for number in (4, 5, 6)) and "and 2 more" in str(error.value)


def test_the_head_is_as_wide_as_it_is_said(task_dir: Path):
    head = SlotFilling(read_task(task_dir, COLUMNS), COLUMNS, width=16).head(5)
    assert {module.hidden_size for module in head.modules() if isinstance(module, nn.LSTM)} == {16}


@pytest.mark.parametrize("bf16", [False, True])
def test_both_of_its_lstms_may_be_in_bf16(task_dir: Path, bf16: bool):
    head = SlotFilling(read_task(task_dir, COLUMNS), COLUMNS, width=16, bf16=bf16).head(5)
    lstms = [module for module in head.modules() if isinstance(module, nn.LSTM)]
    assert [lstm.products for lstm in lstms if isinstance(lstm, PackedLstm)] == 2 * [
        torch.bfloat16 if bf16 else torch.float32
    ]
    assert len(lstms) == 2


def test_it_reads_two_columns(task_dir: Path):
    with pytest.raises(UserError, match="reads two columns"):
        SlotFilling(read_task(task_dir, ["label"]), ["label"])


@pytest.mark.parametrize("bf16", ["false", "true"])
def test_the_command(task_dir: Path, tmp_path: Path, encoder_dir: Path, bf16: str):
    given = ["baselines=[]", "steps=2", "lr=[1e-3]", "head_width=16", f"head_bf16={bf16}"]
    results = superb("sf", task_dir, tmp_path / "out", encoder_dir, *given)
    assert results["task"]["metrics"] == ["slot_type_f1", "slot_value_cer"]
    assert not results["task"]["lower_is_better"]
    assert set(results["summary"]["tiny"]) == {"slot_type_f1", "slot_value_cer", "valid"}
    assert (tmp_path / "out" / "sf" / "predictions" / "tiny-1-seed1.tsv").read_text().count("\n") == 10


def test_predictions_give_the_reported_score(task_dir: Path, tmp_path: Path, encoder_dir: Path, monkeypatch):
    """Of three texts, one is right, one has another slot, and one none."""

    def said(self, head, frames, lengths, utterances):
        texts = self._truth(utterances)
        kinds = ("{0} B-pitch_{1} {1} E-pitch_{1}", "{0} B-pitch_a c E-pitch_a", "{0} {1}")
        rows = zip(utterances, texts, strict=True)
        return [kinds[int(item.name[-1]) // 3].format(*text.split()) for item, text in rows]

    monkeypatch.setattr(SlotFilling, "predict", said)
    given = ["baselines=[]", "steps=1", "check_every=1", "lr=[1e-3]", "head_width=4"]
    results = superb("sf", task_dir, tmp_path / "out", encoder_dir, *given)
    lines = (tmp_path / "out" / "sf" / "predictions" / "tiny-1-seed1.tsv").read_text().splitlines()[1:]
    predictions = {name: json.loads(text) for name, text in (line.split("\t") for line in lines)}
    with open(task_dir / "test.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    words = [(row["transcription"].split(), row["iob"].split()[1]) for row in rows]
    truth = [f"{first} B-{slot} {second} E-{slot}" for (first, second), slot in words]
    texts = [predictions[row["id"]] for row in rows]
    expected = {"slot_type_f1": slot_type_f1(texts, truth), "slot_value_cer": slot_value_cer(texts, truth)}
    assert all(0 < score < 1 for score in expected.values())
    assert results["scores"]["tiny"][0]["test"] == pytest.approx(expected)
