"""ASV: whether the speakers of two utterances are the same one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechssl.audio import SAMPLE_RATE
from speechssl.errors import UserError
from speechssl.evaluation.superb.beside import Line
from speechssl.evaluation.superb.data import TaskData, Utterance
from speechssl.evaluation.superb.problems.problem import Problem, Scorer
from speechssl.evaluation.superb.problems.transcription import only_column
from speechssl.s3prl_patches import guarded_s3prl

_LONGEST = 8
"""Seconds of an utterance that training hears."""
_TRIAL_PARTS = ("valid", "test")


@dataclass(frozen=True)
class Trial:
    """Two utterances to compare."""

    same: int
    """1 if one speaker said both, 0 if not."""
    first: str
    second: str


class SpeakerHead(nn.Module):
    """An embedding of each utterance, and the loss that tells training's speakers by it; both are trained."""

    def __init__(self, network: nn.Module, criterion: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.criterion = criterion

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, nn.Module]:
        """Return embeddings `(batch, 512)`, and what makes a loss of them and the numbers of their speakers."""
        return self.network(features, lengths), self.criterion


class SpeakerVerification(Problem):
    """`s3prl.nn.speaker_model.SuperbXvector` and AM-softmax (scale 30, margin 0.4), as in `s3prl.problem.SuperbASV`.

    The label is the speaker, which training alone needs. The trials of the other parts are scored by the cosine of two
    embeddings. s3prl draws 8 s of a longer utterance of training at random; here they are the first ones, so that
    hidden states are computed once. It also takes silence and utterances below 2 s out of training and makes it 3 dB
    quieter, which is left out.
    """

    pooled = False
    metrics = ("eer", "min_dcf")
    lower_is_better = True
    # The network drops 14 frames at the edges, and a standard deviation needs two.
    min_frames = 16

    def __init__(self, data: TaskData, columns: Sequence[str]) -> None:
        self._column = only_column(columns)
        speakers = sorted({item.labels[self._column] for item in data.parts["train"]})
        if len(speakers) < 2:
            raise UserError(f"{data.name('train')} has one speaker, '{speakers[0]}': there is nothing to tell apart")
        self._numbers = {speaker: number for number, speaker in enumerate(speakers)}
        self._trials = {part: TrialScorer(_trials(data, part)) for part in _TRIAL_PARTS}

    def pieces(self, part: str, utterances: Sequence[Utterance], frame_rate: float) -> Sequence[Utterance]:
        """Return the beginnings of training's utterances, and the other parts as they are."""
        if part != "train":
            return utterances
        return [replace(item, samples=min(item.samples, _LONGEST * SAMPLE_RATE)) for item in utterances]

    def head(self, dim: int) -> nn.Module:
        """Return s3prl's network and loss."""
        with guarded_s3prl():
            from s3prl.nn.speaker_loss import amsoftmax
            from s3prl.nn.speaker_model import SuperbXvector
        network = SuperbXvector(dim)
        return SpeakerHead(network, amsoftmax(network.output_size, len(self._numbers), margin=0.4, scale=30))

    def loss(self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]) -> Tensor:
        """Return the mean loss over the utterances."""
        embeddings, criterion = head(features, lengths)
        numbers = [self._numbers[utterance.labels[self._column]] for utterance in utterances]
        loss: Tensor = criterion(embeddings, torch.tensor(numbers, device=embeddings.device))[0]
        return loss

    def predict(
        self, head: nn.Module, features: Tensor, lengths: Tensor, utterances: Sequence[Utterance]
    ) -> list[Tensor]:
        """Return the embedding of each utterance."""
        embeddings, _ = head(features, lengths)
        return list(embeddings.cpu())

    def scores(self, predictions: Sequence[Tensor], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return the scores of the validation part's trials."""
        return self._trials["valid"].scores(predictions, utterances)

    def test_scorer(self, validate: Callable[[], Sequence[Any]], valid: Sequence[Utterance]) -> Scorer:
        """Return what scores the test part's trials."""
        return self._trials["test"]

    def facts(self) -> dict[str, Any]:
        """Return the numbers of speakers and trials."""
        counts = ", ".join(f"{part} {len(scorer.trials)}" for part, scorer in self._trials.items())
        return {"classes": {self._column: len(self._numbers)}, "notes": [f"trials: {counts}"]}


class TrialScorer(Scorer):
    """Equal error rate and minimum detection cost of trials.

    Args:
        trials: of one part.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials = trials

    def scores(self, predictions: Sequence[Tensor], utterances: Sequence[Utterance]) -> dict[str, float]:
        """Return s3prl's scores (target probability 0.01) of the trials among the utterances.

        Without a trial of one speaker and one of two there are none.
        """
        with guarded_s3prl():
            from s3prl.metric import compute_eer, compute_minDCF
        trials, cosines = self._cosines(predictions, utterances)
        same = [trial.same for trial in trials]
        if len(set(same)) < 2:
            return {}
        eer, _ = compute_eer(same, cosines)
        cost, _ = compute_minDCF(same, cosines, p_target=0.01)
        return {"eer": float(eer), "min_dcf": float(cost)}

    def report(self, predictions: Sequence[Tensor], utterances: Sequence[Utterance]) -> Mapping[str, float]:
        """Return the cosine of each trial, by both names."""
        pairs = zip(*self._cosines(predictions, utterances), strict=True)
        return {f"{trial.first} {trial.second}": round(cosine, 6) for trial, cosine in pairs}

    def _cosines(
        self, predictions: Sequence[Tensor], utterances: Sequence[Utterance]
    ) -> tuple[list[Trial], list[float]]:
        """Return the trials among some utterances, and their cosines."""
        rows = {utterance.name: row for row, utterance in enumerate(utterances)}
        trials = [trial for trial in self.trials if trial.first in rows and trial.second in rows]
        # A head that has overflowed tells no speakers: its utterances are as near to all others.
        embeddings = torch.stack(list(predictions)).nan_to_num()
        first, second = (embeddings[[rows[name] for name in names]] for names in _names(trials))
        return trials, functional.cosine_similarity(first, second, dim=1).tolist()


def _names(trials: Sequence[Trial]) -> tuple[list[str], list[str]]:
    return [trial.first for trial in trials], [trial.second for trial in trials]


def _trials(data: TaskData, part: str) -> list[Trial]:
    """Return the trials of a part, some of one speaker and some of two."""
    lines = data.beside[part]
    known = {utterance.name for utterance in data.parts[part]}
    trials = [_trial(line, known, data.name(part)) for line in lines]
    if len({trial.same for trial in trials}) < 2:
        raise UserError(f"{lines[0].place} and all after it: trials of label 1 and of label 0 are needed")
    return trials


def _trial(line: Line, known: set[str], source: str) -> Trial:
    same, first, second = (line.cells[column] for column in ("label", "first", "second"))
    if same not in ("0", "1"):
        raise UserError(f"{line.place}: the label '{same}' is neither 1 (one speaker) nor 0 (two)")
    for name in (first, second):
        if name not in known:
            raise UserError(f"{line.place}: no utterance '{name}' in {source}")
    return Trial(int(same), first, second)
