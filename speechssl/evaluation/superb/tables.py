"""Tables of the results of one task or several: encoders are lines, scores or tasks are columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from speechssl.evaluation.overview import Rows, TaskResults, encoder_names
from speechssl.evaluation.spread import summary_text
from speechssl.evaluation.superb.leaderboard import difference, published_rows
from speechssl.evaluation.superb.units import label, shown


def task_table(results: TaskResults) -> Rows:
    """Return the table of one task: a line an encoder; both parts of each score, and the chosen rates or layers."""
    task, metrics = results["task"], results["task"]["metrics"]
    chosen = "lr" if "lr" in task else "layer"
    heads = [f"{label(name)} ({part})" for name in metrics for part in ("valid", "test")]
    rows = [["encoder", *heads, chosen, "width"]]
    for facts in results["encoders"]:
        summary = results["summary"][facts["name"]]
        cells = [_cell(name, part.get(name)) for name in metrics for part in (summary["valid"], summary)]
        choices = sorted({score[chosen] for score in results["scores"][facts["name"]]})
        rows.append([facts["name"], *cells, ", ".join(f"{choice:g}" for choice in choices), str(facts["dim"])])
    for name, scores in published_rows([results]).items():
        known = [scores.get((task["name"], metric)) for metric in metrics]
        cells = [
            cell for metric, value in zip(metrics, known, strict=True) for cell in ("-", _published_cell(metric, value))
        ]
        rows.append([_published(name), *cells, "-", "-"])
    return rows


def overview_table(tasks: Sequence[TaskResults]) -> Rows:
    """Return the table of several tasks: a line an encoder, the first score of each task on its test part."""
    columns = [(results["task"]["name"], results["task"]["metrics"][0]) for results in tasks]
    rows = [["encoder", *(_head(results) for results in tasks)]]
    for name in encoder_names(tasks):
        summaries = [results["summary"].get(name, {}) for results in tasks]
        cells = [_cell(score, summary.get(score)) for summary, (_, score) in zip(summaries, columns, strict=True)]
        rows.append([name, *cells])
    for name, scores in published_rows(tasks).items():
        rows.append([_published(name), *(_published_cell(column[1], scores.get(column)) for column in columns)])
    return rows


def captions(tasks: Sequence[TaskResults]) -> list[str]:
    """Return what must be said of the numbers, a sentence each."""
    lines = [
        "Test scores, in per cent where no unit is named, ↑ more is better, ↓ less; mean ± sample standard deviation "
        "over seeds (and encoders of one name).",
    ]
    lines += [f"Protocol: {words}." for words in sorted({results["protocol"] for results in tasks})]
    differ = [f"{results['task']['name'].upper()} ({difference(results)})" for results in tasks if difference(results)]
    if differ:
        lines.append(f"Not to be compared with published scores: {', '.join(differ)}.")
    if len(differ) < len(tasks):
        lines.append(
            "Published scores are those of arXiv 2105.01051 and 2110.13900, ASR without a language model; those of SE, "
            "SS, wav2vec 2.0 and WavLM Large are as others quote them."
        )
        if "fbank" in encoder_names(tasks):
            lines.append(
                "The baseline fbank is not the published FBANK, which has derivatives and no mean over time: that is "
                "`s3prl:fbank`."
            )
    return lines


def group_table(results: TaskResults, column: str) -> Rows:
    """Return the first score of each value of a column, the mean over sources, seeds and folds."""
    first = results["task"]["metrics"][0]
    rows: Rows = []
    for name, scores in results["scores"].items():
        groups: dict[str, list[Mapping[str, float]]] = {}
        for score in scores:
            for value, one in score["groups"][column].items():
                groups.setdefault(value, []).append(one)
        heads = len(scores) / max(1, len(results["task"]["folds"]))
        counts = {value: sum(one["utterances"] for one in groups[value]) / heads for value in sorted(groups)}
        rows = rows or [["encoder", *(f"{value} ({count:.0f})" for value, count in counts.items())]]
        rows.append([name, *(_mean(groups[value], first) for value in counts)])
    return rows


def _mean(groups: Sequence[Mapping[str, float]], name: str) -> str:
    """Return the mean over all utterances; a group that is too small has no score."""
    known = [group for group in groups if name in group]
    utterances = sum(group["utterances"] for group in known)
    return shown(name, sum(group[name] * group["utterances"] for group in known) / utterances) if known else "-"


def _head(results: TaskResults) -> str:
    arrow = "↓" if results["task"]["lower_is_better"] else "↑"
    differs = difference(results)
    name = f"{results['task']['name'].upper()} {label(results['task']['metrics'][0])} {arrow}"
    return f"{name} ({differs})" if differs else name


def _published(name: str) -> str:
    return f"{name} (published)"


def _published_cell(score: str, value: float | None) -> str:
    return "-" if value is None else shown(score, value)


def _cell(score: str, summary: Mapping[str, float] | None) -> str:
    return summary_text(summary, lambda value: shown(score, value))
