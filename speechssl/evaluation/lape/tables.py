"""Tables of the results of one task or several: encoders are lines, tasks or label fractions are columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from speechssl.evaluation.lape.settings import Mode, Protocol
from speechssl.evaluation.overview import Rows, TaskResults, encoder_names
from speechssl.evaluation.spread import summary_text

MODES = {Mode.linear.value: "linear", Mode.finetune.value: "fine-tuned"}
"""What tables call the modes."""
_LEARNT = {
    Mode.linear.value: "Linear: a linear head on frozen encoders.",
    Mode.finetune.value: "Fine-tuned: encoder and linear head learn together; `random` is supervised training from "
    "scratch.",
}

_MOST_LABELS = {
    "balanced_accuracy": "balanced accuracy",
    "mean_distance": "mean distance",
    "loki_accuracy": "accuracy (Loki)",
    "loki_mean_distance": "mean distance (Loki)",
}
"""Measures that a task's table has for the largest label fraction, where they are there, and what it calls them."""


def task_table(results: TaskResults) -> Rows:
    """Return the table of one task: accuracy for each label fraction, then the other measures for the largest."""
    summaries = results["summary"].values()
    fractions = _fractions(summaries)
    most = fractions[-1]
    measures = [kind for kind in _MOST_LABELS if any(kind in summary.get(most, {}) for summary in summaries)]
    header = ["encoder", *(f"accuracy{_labels(fraction)}" for fraction in fractions)]
    header += [f"{_MOST_LABELS[kind]}{_labels(most)}" for kind in measures]
    rows = [[*header, "parameters", "width"]]
    for facts in results["encoders"]:
        summary = results["summary"][facts["name"]]
        cells = [_cell(summary.get(fraction, {}).get("accuracy")) for fraction in fractions]
        cells += [_cell(summary.get(most, {}).get(kind), kind) for kind in measures]
        rows.append([facts["name"], *cells, f"{facts['parameters']:,}".replace(",", " "), str(facts["dim"])])
    for name, value in results["task"]["published"].items():
        unknown = len(measures) + 2
        rows.append([_published(name), *["-"] * (len(fractions) - 1), f"{value:.1f}", *["-"] * unknown])
    return rows


def overview_table(tasks: Sequence[TaskResults]) -> Rows:
    """Return the table of several tasks: the accuracy of each, a line an encoder and label fraction."""
    heads = [f"{results['task']['name']} ({MODES[results['mode']]}, {results['protocol']})" for results in tasks]
    rows = [["encoder", *heads]]
    for name in encoder_names(tasks):
        summaries = [results["summary"].get(name, {}) for results in tasks]
        for fraction in _fractions(summaries):
            cells = [_cell(summary.get(fraction, {}).get("accuracy")) for summary in summaries]
            rows.append([f"{name}{_labels(fraction)}", *cells])
    for name in dict.fromkeys(name for results in tasks for name in results["task"]["published"]):
        published = [results["task"]["published"].get(name) for results in tasks]
        rows.append([_published(name), *("-" if value is None else f"{value:.1f}" for value in published)])
    return rows


def captions(tasks: Sequence[TaskResults]) -> list[str]:
    """Return what must be said of the numbers, a sentence each: above all, how the epoch was chosen."""
    lines = ["Test accuracy in per cent: mean ± sample standard deviation over seeds (and encoders of one name)."]
    lines += [words for mode, words in _LEARNT.items() if any(results["mode"] == mode for results in tasks)]
    lines += sorted({words for results in tasks for words in _extras(results)})
    for protocol in Protocol:
        chosen = {results["chosen"] for results in tasks if results["protocol"] == protocol}
        lines += [f"Protocol {protocol.value}: {words}." for words in sorted(chosen)]
    if any(_has_distances(results) for results in tasks):
        lines.append("Loki: the class with the smallest expected squared distance is predicted (arXiv 2307.12226).")
    if any(results["task"]["published"] for results in tasks):
        lines.append("Published scores are maxima of the test accuracy over the epochs.")
    return lines


def _extras(results: TaskResults) -> Iterator[str]:
    """Yield what fine-tuning did beside learning the labels."""
    extras = results["settings"]["finetune"]
    # Results of earlier versions have not all of them.
    if transformations := extras.get("sla", {}).get("transformations"):
        yield f"Fine-tuned with augmented labels: {', '.join(transformations)} (arXiv 1910.05872)."
    if extras.get("pseudo_labels", {}).get("confidence") is not None:
        yield (
            "Fine-tuned after pseudo-labels of the training clips that the fraction leaves out, those above a "
            f"confidence of {extras['pseudo_labels']['confidence']:g} (arXiv 2011.09031)."
        )


def _fractions(summaries: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted({fraction for summary in summaries for fraction in summary}, key=float)


def _labels(fraction: str) -> str:
    return "" if float(fraction) == 1 else f", {100 * float(fraction):g} % of labels"


def _has_distances(results: TaskResults) -> bool:
    return any("mean_distance" in cells for summary in results["summary"].values() for cells in summary.values())


def _published(name: str) -> str:
    return f"{name} (published, maximum over epochs)"


def _cell(summary: Mapping[str, float] | None, kind: str = "accuracy") -> str:
    scale, digits = (1, 2) if kind.endswith("distance") else (100, 1)
    return summary_text(summary, lambda value: f"{scale * value:.{digits}f}")
