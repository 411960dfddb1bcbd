"""Where encoders stand among published ones: on the official corpora, with the published training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from speechssl.evaluation.overview import TaskResults, encoder_names
from speechssl.evaluation.superb.official import lacking
from speechssl.evaluation.superb.published import PUBLISHED, SUMMED, Metric, superb_score

_AS_PUBLISHED = {
    "preset": "full", "steps": None, "check_every": None, "batch_size": None, "labels": None, "head_width": None,
    "head_bf16": False,
}  # fmt: skip
"""Settings of a run that trains as published; the learning rate may be chosen. Earlier versions lacked some of them."""


def difference(results: TaskResults) -> str:
    """Return in a word what a task's scores differ in from published ones; nothing where they can be compared."""
    settings, task = results["settings"], results["task"]
    if settings["corpus_dir"] is None:
        return "stand-in"
    if any(lacking(task["name"], task["utterances"])):
        return "part of the corpus"
    if "steps" in task and any(settings.get(name, value) != value for name, value in _AS_PUBLISHED.items()):
        return "other training"
    if task["name"] == "pr" and not task.get("published_phones"):
        return "other phones"
    if task["name"] == "se" and "pesq" not in task["metrics"]:
        return "other training"  # STOI has chosen the head
    return ""


def published_rows(tasks: Sequence[TaskResults]) -> dict[str, dict[Metric, float]]:
    """Return the published scores of those tasks that they can be compared with, by encoder."""
    alike = {results["task"]["name"] for results in tasks if not difference(results)}
    rows = {
        name: {metric: score for metric, score in scores.items() if metric[0] in alike}
        for name, scores in PUBLISHED.items()
    }
    return {name: scores for name, scores in rows.items() if scores}


def leaderboard_facts(tasks: Sequence[TaskResults]) -> Mapping[str, Any]:
    """Return what `results.json` of all tasks says: `superb_score`, `published` and `differs`.

    `superb_score` has for each encoder its `score`, or the tasks that are `missing` for one. `published` has encoder ->
    task -> score -> value, of tasks that can be compared; `differs` says of the others why they cannot.
    """
    published: dict[str, dict[str, dict[str, float]]] = {}
    for name, scores in published_rows(tasks).items():
        for (task, metric), value in scores.items():
            published.setdefault(name, {}).setdefault(task, {})[metric] = value
    differs = {results["task"]["name"]: difference(results) for results in tasks if difference(results)}
    return {"superb_score": _standings(tasks), "published": published, "differs": differs}


def superb_score_lines(tasks: Sequence[TaskResults]) -> Iterator[str]:
    """Yield the lines of a page that tell the SUPERB score of each encoder, or why it has none."""
    standings = _standings(tasks)
    lacking: dict[str, list[str]] = {}
    for name, standing in standings.items():
        if "missing" in standing:
            lacking.setdefault(", ".join(standing["missing"]), []).append(name)
        else:
            yield f"- {name}: SUPERB score {standing['score']:.0f}"
    for missing, names in lacking.items():
        yield f"- no SUPERB score of {', '.join(names)}; missing on the official corpora: {missing}"
    if any("score" in standing for standing in standings.values()):
        for name, scores in PUBLISHED.items():
            if all(metric in scores for metric in SUMMED):
                yield f"- {name} (published): SUPERB score {superb_score(scores):.0f}"


def _standings(tasks: Sequence[TaskResults]) -> dict[str, dict[str, Any]]:
    return {name: _standing(_comparable(name, tasks)) for name in encoder_names(tasks)}


def _standing(scores: Mapping[Metric, float]) -> dict[str, Any]:
    missing = list(dict.fromkeys(metric[0] for metric in SUMMED if metric not in scores))
    return {"missing": missing} if missing else {"score": superb_score(scores)}


def _comparable(encoder: str, tasks: Sequence[TaskResults]) -> dict[Metric, float]:
    """Return the scores of an encoder that can be compared with published ones."""
    return {
        (results["task"]["name"], metric): results["summary"][encoder][metric]["mean"]
        for results in tasks
        if not difference(results) and encoder in results["summary"]
        for metric in results["task"]["metrics"]
        if metric in results["summary"][encoder]
    }
