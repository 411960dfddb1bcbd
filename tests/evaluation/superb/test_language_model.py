"""Speech recognition with a language model, against scores worked by hand."""

from __future__ import annotations

import gc
import gzip
import math
import weakref
from pathlib import Path

import pytest
import torch

from speechssl.cli.app import main
from speechssl.errors import UserError
from speechssl.evaluation.superb.data import read_task
from speechssl.evaluation.superb.problems.language_model import WordBeamSearch
from speechssl.evaluation.superb.problems.transcription import Decoded, SpeechRecognition
from speechssl.s3prl_patches import guarded_s3prl
from tests.evaluation.superb.test_problems import features
from tests.evaluation.superb.test_run import superb

with guarded_s3prl():
    from s3prl.dataio.encoder.tokenizer import CharacterTokenizer

# log10 probability, words, back-off weight
ARPA = r"""
\data\
ngram 1=9
ngram 2=1

\1-grams:
-99	<s>	0
-1	</s>
-3	<unk>
-0.5	cat	0
-2	cot	0
-1	god	0
-1	tag	0
-1	godcat	0
-1	Épée	0

\2-grams:
-0.5	god cot

\end\
"""


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    file = tmp_path / "words.arpa"
    file.write_text(ARPA.lstrip(), encoding="utf-8")
    return file


@pytest.fixture
def tokenizer() -> CharacterTokenizer:
    return CharacterTokenizer(list(" acdgot"))


def logits(tokenizer: CharacterTokenizer, *frames: str | dict[str, float]) -> torch.Tensor:
    """Log-probabilities of frames that are surely a character (`$`: the end), or have a probability for several."""
    rows = torch.full((len(frames), tokenizer.vocab_size), -30.0)
    for row, frame in zip(rows, frames, strict=True):
        for character, probability in ({frame: 1.0} if isinstance(frame, str) else frame).items():
            row[tokenizer.eos_idx if character == "$" else tokenizer.vocab_to_idx(character)] = math.log(probability)
    return rows


@pytest.mark.parametrize(
    ("before", "o", "expected"),
    [
        # Twice the language model's logarithms to the base of ten: 2 * (-0.5 + 2) = 3.0 for "cat".
        ("", 0.60, "cat"),  # ln(0.60 / 0.40) = 0.4
        ("", 0.94, "cat"),  # ln(0.94 / 0.06) = 2.75
        ("", 0.97, "cot"),  # ln(0.97 / 0.03) = 3.48
        # Behind "god" its probability is that of the pair, -0.5, and "cat" backs off to -0.5: no difference.
        ("god ", 0.60, "god cot"),
        ("god ", 0.40, "god cat"),
    ],
)
def test_the_language_model_weighs_as_worked_by_hand(arpa, tokenizer, before: str, o: float, expected: str):
    said = logits(tokenizer, *before, "c", {"o": o, "a": 1 - o}, "t", "$")
    assert WordBeamSearch(arpa, tokenizer)(said) == expected


@pytest.mark.parametrize(("probability", "expected"), [(0.85, "godcat"), (0.91, "god cat")])
def test_a_word_has_a_score_of_its_own(arpa, tokenizer, probability: float, expected: str):
    """One word costs 2 * 1 + 1, two cost 2 * 1.5 + 2: the space must be worth 2, ln(0.88 / 0.12)."""
    space = {" ": probability, "<pad>": 1 - probability}
    assert WordBeamSearch(arpa, tokenizer)(logits(tokenizer, *"god", space, *"cat", "$")) == expected


def test_a_blank_parts_letters_and_only_known_words_are_said(arpa, tokenizer):
    search = WordBeamSearch(arpa, tokenizer)
    assert search(logits(tokenizer, "c", "c", "<pad>", "a", "t", "t", " ", "t", "a", "g", "$")) == "cat tag"
    assert search(logits(tokenizer, "t", {"a": 0.1, "o": 0.9}, "g", "$")) == "tag", "there is no word 'tog'"


def test_folds_that_spell_alike_share_a_decoder(arpa, tokenizer):
    """A language model takes gigabytes, which are free again when the last of them is done."""
    folds = [WordBeamSearch(arpa, tokenizer) for _ in range(2)]
    assert folds[0]._decoder is folds[1]._decoder
    decoder = weakref.ref(folds[0]._decoder)
    folds.clear()
    gc.collect()
    assert decoder() is None


def test_words_with_other_characters_are_counted(arpa, tokenizer):
    assert "(5 words, 1 others have characters that training lacks)" in WordBeamSearch(arpa, tokenizer).describe()


def test_it_may_be_compressed(arpa, tokenizer):
    compressed = arpa.with_name("words.arpa.gz")
    compressed.write_bytes(gzip.compress(arpa.read_bytes()))
    assert WordBeamSearch(compressed, tokenizer)(logits(tokenizer, "c", {"o": 0.6, "a": 0.4}, "t", "$")) == "cat"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"words\.arpa does not exist"),
        ("cat\n", r"words\.arpa is cut off, or not in ARPA's format"),
        (ARPA.replace("\\2-grams:", "").replace("\\end\\", ""), r"words\.arpa is cut off"),
        (ARPA.upper().replace("-GRAMS", "-grams"), r"words\.arpa: none of its words \(e\.g\. 'CAT'\) can be spelled"),
    ],
)
def test_a_file_that_is_no_use_is_named(arpa: Path, tokenizer, content: str | None, message: str):
    arpa.unlink() if content is None else arpa.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        WordBeamSearch(arpa, tokenizer)


def test_a_file_that_is_broken_behind_its_words(arpa: Path, tokenizer):
    arpa.write_text(ARPA.lstrip().replace("-0.5\tgod cot\n", ""), encoding="utf-8")
    search = WordBeamSearch(arpa, tokenizer)
    with pytest.raises(UserError, match=r"words\.arpa cannot be used .*; get it again"):
        search(logits(tokenizer, "c", "a", "t", "$"))


def test_both_ways_to_decode_are_scored(task_dir: Path, tmp_path: Path):
    """The model does not know a word of the best path, and has one that is nearly as probable."""
    arpa = tmp_path / "words.arpa"
    known = {"aa", "bb", "cc", "a", "b", "c"}
    words = "".join(f"-1\t{word}\t0\n" for word in sorted(known))
    start = "\\data\\\nngram 1=8\nngram 2=1\n\n\\1-grams:\n-99\t<s>\t0\n-1\t</s>\n"
    arpa.write_text(f"{start}{words}\n\\2-grams:\n-0.1\taa a\n\n\\end\\\n")
    data = read_task(task_dir, ["transcription"])
    problem, without = SpeechRecognition(data, ["transcription"], arpa), SpeechRecognition(data, ["transcription"])
    said = logits(problem._tokenizer, "a", "<pad>", {"b": 0.6, "a": 0.4}, " ", "a", "$")

    def head(frames: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return said.expand(len(frames), -1, -1), torch.full_like(lengths, len(said))

    frames, lengths = features(4)
    utterances = data.parts["test"][:4]
    predictions = problem.predict_test(head, frames, lengths, utterances)
    assert predictions == [Decoded("ab a", with_lm="aa a")] * 4
    assert problem.predict(head, frames, lengths, utterances) == ["ab a"] * 4
    scorer = problem.test_scorer(lambda: [], [])
    scores = scorer.scores(predictions, utterances)
    assert scores.pop("wer_lm") == without.scores(["aa a"] * 4, utterances)["wer"]
    assert scores == without.scores(["ab a"] * 4, utterances)


def test_the_command(task_dir: Path, tmp_path: Path, encoder_dir: Path, arpa: Path, capsys):
    arpa.write_text(ARPA.lstrip().replace("cat", "aa").replace("cot", "bb"), encoding="utf-8")
    fast = ["baselines=[]", "steps=2", "lr=[1e-3]", "head_width=16"]
    results = superb("asr", task_dir, tmp_path / "out", encoder_dir, *fast, f"lm={arpa}")
    assert results["task"]["metrics"] == ["wer", "cer", "wer_lm"]
    assert "wer_lm" in results["summary"]["tiny"] and "wer_lm" not in results["summary"]["tiny"]["valid"]
    assert any(note.startswith("wer_lm: beam search with words.arpa (2 words, ") for note in results["task"]["notes"])
    predictions = (tmp_path / "out" / "asr" / "predictions" / "tiny-1-seed1.tsv").read_text().splitlines()
    assert len(predictions) == 10 and '"with_lm": ' in predictions[1]
    given = [
        "evaluate",
        "benchmark=superb",
        "task=ks",
        f"data_dir={task_dir}",
        "out_dir=x",
        "encoders={}",
        f"lm={arpa}",
    ]
    assert main(given) == 1
    assert "lm is for task=asr" in capsys.readouterr().err
