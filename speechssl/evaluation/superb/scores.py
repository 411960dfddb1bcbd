"""The scores of one encoder in one task: a head for every seed and learning rate, the rate chosen on validation."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from speechssl.errors import UserError
from speechssl.evaluation.superb.data import Utterance
from speechssl.evaluation.superb.grouping import rows_by_value
from speechssl.evaluation.superb.problems.problem import Posteriors, Problem, Scorer, worth
from speechssl.evaluation.superb.training import DivergedError, Part, Plan, Trained, predict, train_head

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """What one head, at the best of the learning rates, gave."""

    fold: str
    """The one that was tested, of a task in folds; else empty."""
    seed: int
    lr: float
    """The chosen one."""
    step: int
    """Update after which validation was best."""
    valid: Mapping[str, float]
    test: Mapping[str, float]
    groups: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Column -> value -> scores of the test utterances that have it, and `utterances`, how many those are."""
    layer_weights: Sequence[float]
    tried: Sequence[Mapping[str, float]]
    """Of every learning rate: `lr`, `step`, the first score on validation, and `skipped` updates; or `diverged`, where
    gradients were not finite."""
    predictions: Mapping[str, Any]
    """What the results keep of the test part, by name."""
    posteriors: Posteriors | None
    """What only the leaderboard's files keep of it."""

    def to_json(self) -> dict[str, Any]:
        """Return all but the predictions and posteriors."""
        return {name: value for name, value in asdict(self).items() if name not in ("predictions", "posteriors")}


@dataclass(frozen=True)
class Race:
    """One encoder's states of a task, and how heads are trained on them."""

    problem: Problem
    parts: Mapping[str, Part]
    shape: tuple[int, int]
    """Hidden states of a frame, and their width."""
    rates: Sequence[float]
    groups: Sequence[str]
    folder: Path
    """Where unfinished trainings are kept."""
    fold: str
    """The one that is tested, of a task in folds; else empty."""
    identity: str
    """Changes with everything but the plan that a training depends on."""


def score_seeds(race: Race, plans: Sequence[Plan]) -> Iterator[Score]:
    """Yield the score of each plan; its learning rate is replaced by the best of `race.rates`.

    Raises:
        UserError: of a plan every rate diverged.
    """
    for plan in plans:
        trained = {rate: _train_if_it_learns(race, replace(plan, lr=rate)) for rate in race.rates}
        learnt = {rate: one for rate, one in trained.items() if one is not None}
        if not learnt:
            raise UserError(
                f"seed {plan.seed}: with every one of lr={list(race.rates)} gradients are not finite; give lower ones"
            )
        lr = _best(race.problem, learnt)
        yield _score(race, plan, lr, trained, learnt[lr])


def kept_files(race: Race, plans: Sequence[Plan]) -> list[Path]:
    """Return the files that trainings of these plans are kept in."""
    return [_kept_file(race, replace(plan, lr=rate)) for plan in plans for rate in race.rates]


def _best(problem: Problem, trained: Mapping[float, Trained]) -> float:
    return max(trained, key=lambda rate: worth(problem, trained[rate].valid))


def _train(race: Race, plan: Plan) -> Trained:
    saved = _kept_file(race, plan)
    return train_head(race.problem, race.parts["train"], race.parts["valid"], race.shape, plan, saved)


def _train_if_it_learns(race: Race, plan: Plan) -> Trained | None:
    """Return None for a learning rate that diverges, which is worse than any other."""
    try:
        return _train(race, plan)
    except DivergedError as error:
        logger.warning("seed %d: %s; the other learning rates go on", plan.seed, error)
        return None


def _kept_file(race: Race, plan: Plan) -> Path:
    facts = {**vars(plan), "device": plan.device.type, "identity": race.identity}
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    return race.folder / f"{name}.pt"


def _score(race: Race, plan: Plan, lr: float, trained: Mapping[float, Trained | None], chosen: Trained) -> Score:
    """Read the test part once, with the chosen head."""
    problem, test = race.problem, race.parts["test"]
    said_of = partial(predict, head=chosen.head, batch_size=plan.at_once, device=plan.device)
    valid = race.parts["valid"]
    scorer = problem.test_scorer(lambda: said_of(problem.predict, part=valid), valid.utterances)
    predictions = said_of(problem.predict_test, part=test)
    return Score(
        fold=race.fold,
        seed=plan.seed,
        lr=lr,
        step=chosen.step,
        valid=chosen.valid,
        test=scorer.scores(predictions, test.utterances),
        groups={column: _by_value(scorer, predictions, test.utterances, column) for column in race.groups},
        layer_weights=[round(weight, 5) for weight in chosen.head.layer_weights().detach().cpu().tolist()],
        tried=[{"lr": rate, **_tried(one, problem.metrics[0])} for rate, one in trained.items()],
        predictions=scorer.report(predictions, test.utterances),
        posteriors=scorer.posteriors(predictions, test.utterances),
    )


def _tried(one: Trained | None, first: str) -> dict[str, float]:
    if one is None:
        return {"diverged": True}
    return {"step": one.step, first: one.valid[first], "skipped": one.skipped}


def _by_value(
    scorer: Scorer, predictions: Sequence[Any], utterances: Sequence[Utterance], column: str
) -> dict[str, dict[str, float]]:
    """Return the scores of each value of a column. Utterances without one are a group of their own, `unknown`."""
    scores = {}
    for value, rows in rows_by_value(utterances, column).items():
        of_value = [utterances[row] for row in rows]
        found = scorer.scores([predictions[row] for row in rows], of_value)
        scores[value] = {**found, "utterances": float(scorer.count(of_value))}
    return scores
