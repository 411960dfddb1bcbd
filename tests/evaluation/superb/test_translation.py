"""Speech translation: its loss, its searches, its scores, and the command."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from sacrebleu import corpus_bleu, corpus_chrf
from torch.nn import functional

from speechssl.evaluation.superb.data import TaskData, Utterance
from speechssl.evaluation.superb.problems import translation
from speechssl.evaluation.superb.problems.translation import SpeechTranslation
from tests.evaluation.superb.conftest import write_csv
from tests.evaluation.superb.test_run import superb

DIM = 6
PAD, EOS = 1, 2
TEXTS = ("Ein Hund.", "Zwei Äpfel!", "Zwei Hunde.")


def utterances(*texts: str) -> list[Utterance]:
    return [Utterance(str(number), Path("x"), 1, {"translation": text}) for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def problem() -> SpeechTranslation:
    return SpeechTranslation(TaskData(Path("x"), {"train": utterances(*TEXTS)}), ["translation"])


@pytest.fixture(scope="module")
def head(problem: SpeechTranslation) -> torch.nn.Module:
    torch.manual_seed(1)
    return problem.head(DIM).eval()


def features(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    pieces = [torch.randn(length, DIM, generator=torch.Generator().manual_seed(length)) for length in lengths]
    return torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True), torch.tensor(lengths)


def test_tokens_are_the_characters_of_training(problem: SpeechTranslation):
    characters = set("".join(TEXTS)) - {" "}
    assert problem.facts()["tokens"] == len(characters) + len(["<s>", "<pad>", "</s>", "<unk>", "▁"])


def log_probabilities(head, frames: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    """Those of each next token, behind every beginning of a text, computed anew for each."""
    network, heard = head(frames, torch.tensor([frames.shape[1]]))
    rows = [
        network(**heard, decoder_input_ids=torch.tensor([[EOS, *tokens[:end]]])).logits[0, -1]
        for end in range(len(tokens) + 1)
    ]
    return functional.log_softmax(torch.stack(rows), dim=1)


def test_the_loss_is_that_of_each_token_behind_those_before(problem: SpeechTranslation, head):
    """Alone and in a batch of equal lengths; smoothed labels as in arXiv 1512.00567."""
    frames, lengths = features(20, 20)
    loss = problem.loss(head, frames, lengths, utterances(*TEXTS[:2])).item()
    expected = []
    for row, text in enumerate(TEXTS[:2]):
        tokens = problem._tokenizer.encode(text)
        log = log_probabilities(head, frames[row : row + 1], tokens)
        right = log[torch.arange(len(tokens) + 1), torch.tensor([*tokens, EOS])]
        expected.append(-(0.9 * right + 0.1 * log.mean(dim=1)).sum().item())
    assert loss == pytest.approx(sum(expected) / 2, rel=1e-4)


@pytest.mark.parametrize("length", [8, 9, 10, 11])
def test_padding_is_not_heard(head, length: int):
    """An utterance gives the same alone and beside longer ones, whatever its padding is."""
    frames, lengths = features(length, 40)
    frames[0, length:] = 9.0
    tokens = torch.tensor([[EOS, 5, 6]])
    network, heard = head(frames[:1, :length], lengths[:1])
    alone = network(**heard, decoder_input_ids=tokens)
    network, heard = head(frames, lengths)
    beside = network(**heard, decoder_input_ids=tokens.expand(2, -1))
    encoded = alone.encoder_last_hidden_state[0]
    torch.testing.assert_close(beside.encoder_last_hidden_state[0, : len(encoded)], encoded, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(beside.logits[0], alone.logits[0], rtol=1e-4, atol=1e-5)


def test_the_convolutions_are_those_of_transformers(head):
    """Alone: there is no padding."""
    from transformers.models.speech_to_text.modeling_speech_to_text import Conv1dSubsampler

    theirs = Conv1dSubsampler(head.network.config)
    theirs.load_state_dict(head.network.model.encoder.conv.state_dict())
    frames, lengths = features(21)
    _, heard = head(frames, lengths)
    torch.testing.assert_close(head.network.model.encoder.conv(heard["input_features"]), theirs(frames))


def test_a_wide_beam_finds_the_most_probable_text(monkeypatch):
    """All texts of at most two tokens are scored: the mean log-probability of the tokens, and of the end before two."""
    small = SpeechTranslation(TaskData(Path("x"), {"train": utterances("a", "b")}), ["translation"])
    monkeypatch.setattr(translation, "_MOST_TOKENS", 2)
    for seed in range(2):
        torch.manual_seed(seed)
        head = small.head(DIM).eval()
        torch.nn.init.normal_(head.network.lm_head.weight, std=0.3)
        frames, lengths = features(12)
        first = log_probabilities(head, frames, [])[0].tolist()
        scores = {(): first[EOS]}
        for one in range(4, 7):
            _, second = log_probabilities(head, frames, [one]).tolist()
            scores |= {(one, two): (first[one] + second[two]) / 2 for two in range(4, 7)}
            scores[(one,)] = (first[one] + second[EOS]) / 2
        best = max(scores, key=scores.__getitem__)
        assert small.predict_test(head, frames, lengths, []) == [small._tokenizer.decode(list(best))]


def test_greedy_takes_the_best_token_each_time(problem: SpeechTranslation, head, monkeypatch):
    monkeypatch.setattr(translation, "_MOST_TOKENS", 5)
    frames, lengths = features(16)
    tokens: list[int] = []
    while len(tokens) < 5:
        log = log_probabilities(head, frames, tokens)[-1]
        log[[0, PAD, 3]] = -math.inf
        if log.argmax() == EOS:
            break
        tokens.append(int(log.argmax()))
    assert problem.predict(head, frames, lengths, []) == [problem._tokenizer.decode(tokens)]


def test_scores_are_sacrebleu_s(problem: SpeechTranslation):
    said, truth = ["Ein Hund und zwei Katzen .", "Zwei"], ["Ein Hund und zwei Hunde.", "Zwei Äpfel auf dem Tisch!"]
    scores = problem.scores(said, utterances(*truth))
    assert scores["bleu"] == pytest.approx(corpus_bleu(said, [truth], tokenize="13a").score / 100)
    assert scores["chrf"] == pytest.approx(corpus_chrf(said, [truth]).score / 100)
    assert problem.scores(truth, utterances(*truth))["bleu"] == pytest.approx(1.0)


@pytest.fixture
def spelled_out(tmp_path: Path, task_dir: Path) -> Path:
    """The tones of the other tasks, whose names are spelled out."""
    names = {"a": "Tief", "b": "Mittel", "c": "Hoch"}
    columns = ("id", "path", "translation")
    for part in ("train", "valid", "test"):
        with open(task_dir / f"{part}.csv", newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        written = [(row["id"], str(task_dir / row["path"]), f"{names[row['label']]} klingt der Ton.") for row in rows]
        write_csv(tmp_path / f"{part}.csv", [dict(zip(columns, row, strict=True)) for row in written], columns)
    return tmp_path


def test_the_command(spelled_out: Path, tmp_path: Path, encoder_dir: Path, monkeypatch):
    monkeypatch.setattr(translation, "_MOST_TOKENS", 4)
    fast = ["baselines=[]", "steps=1", "check_every=1", "batch_size=72", "lr=[1e-3]"]
    results = superb("st", spelled_out, tmp_path / "out", encoder_dir, *fast)
    assert results["task"]["metrics"] == ["bleu", "chrf"] and not results["task"]["lower_is_better"]
    assert set(results["summary"]["tiny"]) == {"bleu", "chrf", "valid"}
    assert (tmp_path / "out" / "st" / "predictions" / "tiny-1-seed1.tsv").read_text().count("\n") == 10


def test_predictions_give_the_reported_score(spelled_out: Path, tmp_path: Path, encoder_dir: Path, monkeypatch):
    """The head hears every tone as low: a third of the texts is right, and of the others all but a word."""

    def said(self, head, frames, lengths, utterances):
        return ["Tief klingt der Ton."] * len(utterances)

    monkeypatch.setattr(SpeechTranslation, "predict", said)
    monkeypatch.setattr(SpeechTranslation, "predict_test", said)
    fast = ["baselines=[]", "steps=1", "check_every=1", "batch_size=8", "lr=[1e-3]"]
    results = superb("st", spelled_out, tmp_path / "out", encoder_dir, *fast)
    lines = (tmp_path / "out" / "st" / "predictions" / "tiny-1-seed1.tsv").read_text().splitlines()[1:]
    predictions = {name: json.loads(text) for name, text in (line.split("\t") for line in lines)}
    with open(spelled_out / "test.csv", newline="", encoding="utf-8") as stream:
        truth = {row["id"]: row["translation"] for row in csv.DictReader(stream)}
    texts, references = zip(*((predictions[name], text) for name, text in truth.items()), strict=True)
    expected = {
        "bleu": corpus_bleu(texts, [references], tokenize="13a").score / 100,
        "chrf": corpus_chrf(texts, [references]).score / 100,
    }
    assert all(0 < score < 1 for score in expected.values())
    assert results["scores"]["tiny"][0]["test"] == pytest.approx(expected)


def test_another_device_learns_and_translates_too(spelled_out: Path, tmp_path, encoder_dir, monkeypatch, other_device):
    monkeypatch.setattr(translation, "_MOST_TOKENS", 4)
    fast = ["baselines=[]", "steps=1", "check_every=1", "batch_size=72", "lr=[1e-3]"]
    with other_device():
        assert superb("st", spelled_out, tmp_path / "out", encoder_dir, *fast)["scores"]["tiny"]
