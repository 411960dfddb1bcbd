"""Results that a task might give, without running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speechssl.evaluation.superb.official import OFFICIAL
from speechssl.evaluation.superb.published import PUBLISHED, SUMMED

LOWER = ("per", "wer", "eer", "der")


def summary_of(value: float, spread: float = 0.0, runs: int = 1) -> dict[str, float]:
    return {"mean": value, "spread": spread, "runs": runs}


def task_results(
    name: str,
    scores: Mapping[str, Mapping[str, float]],
    weights: Mapping[str, Sequence[Sequence[float]]] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Results of a task on its official corpus, trained as published.

    Args:
        name: of the task.
        scores: encoder -> score -> value of the test part; of validation it is half of that.
        weights: encoder -> layer weights of each head.
        settings: other than those.
    """
    metrics = list(next(iter(scores.values())))
    summary = {
        encoder: {
            **{metric: summary_of(value) for metric, value in values.items()},
            "valid": {metric: summary_of(value / 2) for metric, value in values.items()},
        }
        for encoder, values in scores.items()
    }
    heads = {
        encoder: [
            {"lr": 0.001, "seed": seed, "layer_weights": list(layers), "groups": {}}
            for seed, layers in enumerate((weights or {}).get(encoder, [[1.0]]))
        ]
        for encoder in scores
    }
    given = {"corpus_dir": "corpora", "preset": "full", "steps": None, "batch_size": None, "labels": None}
    official = OFFICIAL.get(name, {("train",): 1000, ("valid",): 100, ("test",): 100})
    utterances = {parts[0]: number for parts, number in official.items()}
    return {
        "benchmark": "superb",
        "protocol": "chosen on validation",
        "settings": {**given, **settings},
        "task": {
            "name": name,
            "title": f"title of {name}",
            "folder": f"corpora/{name}",
            "folds": [],
            "published_phones": True,
            "metrics": metrics,
            "units": {},
            "lower_is_better": metrics[0] in LOWER,
            "utterances": utterances,
            "seconds": dict.fromkeys(utterances, 3600.0),
            "steps": 200_000,
            "batch_size": 32,
            "lr": [0.001, 0.0001],
            "published_lr": 0.0001,
        },
        "remarks": {},
        "encoders": [
            {"name": encoder, "frame_rate": 50.0, "dim": 768, "parameters": 94_371_712, "sources": [f"exp/{encoder}"]}
            for encoder in scores
        ],
        "scores": heads,
        "summary": summary,
    }


def published_tasks(encoder: str, row: str, left_out: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Results of an encoder that gives what is published of another one, in all ten tasks but some."""
    scores: dict[str, dict[str, float]] = {}
    for (task, metric), value in PUBLISHED[row].items():
        if (task, metric) in SUMMED and task not in left_out:
            scores.setdefault(task, {})[metric] = value
    return [task_results(task, {encoder: values}) for task, values in scores.items()]
