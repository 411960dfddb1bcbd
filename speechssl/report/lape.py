"""The section on LAPE: accuracies in all tasks, learning with few labels, and which classes are taken for which."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from speechssl.plot_style import COLOURS
from speechssl.report.benchmarks import Scale, Summary, encoders_of, facts_of
from speechssl.report.encoders import encoder_table, left_out_table, shown_name
from speechssl.report.findings import Findings, LapeResults
from speechssl.report.plots import Line, colours_of, line_plot, picture_uri
from speechssl.report.reading import JsonObject
from speechssl.report.tables import (
    Better,
    Cell,
    Column,
    Figure,
    Fold,
    Section,
    Table,
    TableRow,
    number_text,
    present,
)

MODES = {"linear": "linear", "finetune": "fine-tuned"}
"""What the page calls the modes, in their order."""

PER_CENT = Scale(100, 1)
"""Of shares: per cent."""


@dataclass(frozen=True)
class Measure:
    """One kind of score."""

    title: str
    better: Better
    chance: str = ""
    """Fact of the task that says what naming the most frequent class always gives; empty where none does."""
    scale: Scale = PER_CENT


ACCURACY = "accuracy"
"""The measure that comes first, and that published scores are of."""
MEASURES = {
    ACCURACY: Measure("Test accuracy (%)", "more", "most_frequent_class"),
    "balanced_accuracy": Measure("Balanced test accuracy (%)", "more", "chance"),
    "mean_distance": Measure("Mean distance from the true class (less is better)", "less", scale=Scale()),
    "loki_accuracy": Measure("Test accuracy by Loki's rule (%)", "more", "most_frequent_class"),
    "loki_mean_distance": Measure("Mean distance by Loki's rule (less is better)", "less", scale=Scale()),
}
"""Measures of the summaries; all but the first two are there where classes have distances."""
ALL_LABELS = "1"
"""Label fraction, as the results call it."""
SHOWN_MISTAKES = 3
"""Confusions of each encoder in the table; `confusion.json` has all."""


def lape_section(found: Findings) -> Section:
    """Return accuracies by mode and protocol, curves over label fractions, confusion matrices, what was left out."""
    section = Section(
        "lape",
        "LAPE: one class a clip",
        "Test accuracy in per cent. Linear: a linear head on frozen encoders. Fine-tuned: encoder and linear head "
        "learn together, so random is supervised training from scratch. Chance: always the most frequent class. "
        "\u00b1 is the standard deviation over seeds and encoders of one name (n \u2212 1); a value without it is of "
        "one run. The best of each line is bold.",
        more_title="Confusion matrices",
    )
    section.tables = _score_tables(found, ACCURACY)
    section.figures = [figure for results in found.lape for figure in _few_labels_figure(results.values)]
    section.more_figures = [figure for results in found.lape for figure in _confusion_figure(results)]
    encoders = encoder_table(f"{found.lape_folder}/<task>/results.json", facts_of([each.values for each in found.lape]))
    details = (_task_table(found), encoders, _pseudo_label_table(found), _mistake_table(found), _left_out_table(found))
    others = [table for measure in list(MEASURES)[1:] for table in _score_tables(found, measure)]
    section.detail_tables = [*others, *present(details)]
    section.folds = [
        Fold(f"Settings of {_title(each.values)}", json.dumps(each.values["settings"], indent=2)) for each in found.lape
    ]
    return section


def _score_tables(found: Findings, measure: str) -> list[Table]:
    """Return one table a mode and protocol: numbers under different ones are not to be compared."""
    kinds: dict[tuple[str, str], list[JsonObject]] = {}
    for results in (each.values for each in found.lape):
        if _fractions(results, measure):
            kinds.setdefault((results["mode"], results["protocol"]), []).append(results)
    order = sorted(kinds, key=lambda kind: (kind[0] != "linear", kind[1] != "sound"))
    return [_score_table(found, measure, kinds[kind]) for kind in order]


def _score_table(found: Findings, measure: str, tasks: Sequence[JsonObject]) -> Table:
    """Return a line for each task and label fraction, a column for each encoder."""
    mode, protocol = tasks[0]["mode"], tasks[0]["protocol"]
    encoders = encoders_of(tasks)
    published = dict.fromkeys(name for results in tasks for name in results["task"]["published"])
    others = list(published) if measure == ACCURACY else []
    rows = [
        _score_row(results, fraction, measure, encoders, others)
        for results in tasks
        for fraction in _fractions(results, measure)
    ]
    columns = [Column("chance"), *(Column(shown_name(encoder)) for encoder in encoders)]
    columns += [Column(name, group="published, maximum over epochs") for name in others]
    caption = f"{MEASURES[measure].title}, {MODES.get(mode, mode)}, protocol {protocol}"
    chosen = "; ".join(dict.fromkeys(results["chosen"] for results in tasks))
    note = f"Protocol {protocol}: {chosen}. Each value is of {_runs(tasks)}."
    return Table(caption, _source(found, mode), "task, training labels", columns, rows, note)


def _score_row(
    results: JsonObject, fraction: str, measure: str, encoders: Sequence[str], published: Sequence[str]
) -> TableRow:
    kind, task = MEASURES[measure], results["task"]
    summaries = [_summary(results, encoder, fraction, measure) for encoder in encoders]
    chance = kind.scale.value(task[kind.chance] if kind.chance else None)
    cells = [Cell(chance), *kind.scale.cells(summaries, kind.better)]
    others = task["published"] if fraction == ALL_LABELS else {}
    cells += [Cell(f"{others[name]:.1f}" if name in others else "\u2013") for name in published]
    return TableRow(f"{task['name']}, {_labels(fraction)}", cells)


def _few_labels_figure(results: JsonObject) -> list[Figure]:
    """Return accuracy over label fraction, a line an encoder; nothing where there is one fraction only."""
    fractions = _fractions(results, ACCURACY)
    if len(fractions) < 2:
        return []
    encoders = encoders_of([results])
    lines = []
    colours = colours_of(encoders)
    for place, (encoder, colour) in enumerate(zip(encoders, colours, strict=True)):
        points = [(key, _summary(results, encoder, key, ACCURACY)) for key in fractions]
        known = [(float(key), summary) for key, summary in points if summary is not None]
        means = [100 * summary["mean"] for _, summary in known]
        # With more encoders than colours, bands would hide the lines.
        repeated = len(encoders) <= len(COLOURS) and any(summary["runs"] > 1 for _, summary in known)
        spread = [100 * summary["spread"] for _, summary in known] if repeated else None
        shared = colours[:place].count(colour)
        lines.append(Line(shown_name(encoder), [share for share, _ in known], means, colour, shared, spread))
    title = f"Few labels: {_title(results)}, protocol {results['protocol']}"
    told = "; ".join(f"{line.label} {', '.join(f'{value:.1f}' for value in line.y)}" for line in lines)
    shares = ", ".join(map(_labels, fractions))
    uri = line_plot(lines, "share of the training labels", "test accuracy (%)", markers=True, x_axis="shares")
    note = "; band: standard deviation of the runs" if any(line.spread for line in lines) else ""
    return [Figure(uri, f"{title}, accuracy with {shares}: {told}.", f"{title}{note}")]


def _confusion_figure(results: LapeResults) -> list[Figure]:
    if results.picture is None:
        return []
    title = _title(results.values)
    alt = f"Picture {results.picture.name} of {title}: for each true class the share of each predicted class."
    return [Figure(picture_uri(results.picture), alt, f"{title}, with the most labels", wide=True)]


def _task_table(found: Findings) -> Table | None:
    """Return what each task is; a task whose two modes had the same clips has one line."""
    rows: dict[tuple[str, ...], TableRow] = {}
    for results in (each.values for each in found.lape):
        task = results["task"]
        clips = (task["clips"], task["padded"], task["cut"])
        parts = ". ".join(_division(part, task["group_column"]) for part in task["divisions"])
        numbers = [str(len(task["classes"])), f"{task['clip_seconds']:g}", *map(number_text, clips)]
        row = [Cell(text) for text in (*numbers, parts, task["note"] or "\u2013")]
        rows.setdefault((task["name"], *(cell.text for cell in row)), TableRow(task["name"], row))
    columns = [Column(name) for name in ("classes", "seconds a clip", "clips", "padded", "cut")]
    columns += [Column("parts", number=False), Column("note", number=False)]
    return (
        Table("Tasks", f"{found.lape_folder}/<task>/results.json", "task", columns, list(rows.values()))
        if rows
        else None
    )


def _division(division: JsonObject, group: str) -> str:
    """Return the sizes of the parts, and what makes the test part harder or easier than it looks."""
    sizes = [f"{division['train']} train"]
    if "valid" in division:
        sizes.append(f"{division['valid']} validation ({division['valid_is']})")
    text = f"{division['name']}: {', '.join(sizes)}, {division['test']} test clips"
    if "test_groups" in division:
        text += (
            f"; {division['groups_also_in_train']} of {division['test_groups']} values of {group} in test are in train"
        )
    missing = division["missing_from_train"]
    if missing:
        names = ", ".join(f"{name} ({count} test clips)" for name, count in missing.items())
        text += f"; classes that train lacks, so never right: {names}"
    return text


def _pseudo_label_table(found: Findings) -> Table | None:
    """Return how many pseudo-labels were learnt before the real labels, of how many clips without one."""
    rows = []
    for results in (each.values for each in found.lape):
        for encoder in encoders_of([results]):
            for fraction, counts in sorted(_pseudo_labels(results, encoder).items()):
                kept, unlabelled = zip(*counts, strict=True)
                name = f"{results['task']['name']}, {_labels(f'{fraction:g}')}: {shown_name(encoder)}"
                rows.append(TableRow(name, [Cell(_range(kept)), Cell(_range(unlabelled))]))
    note = "Of each run; a range where runs differ. A fold counts as a run."
    columns = [Column("kept"), Column("clips without a label")]
    source = _source(found, "finetune")
    return (
        Table("Pseudo-labels learnt before the real labels", source, "task, encoder", columns, rows, note)
        if rows
        else None
    )


def _pseudo_labels(results: JsonObject, encoder: str) -> dict[float, list[tuple[int, int]]]:
    """Return label fraction -> pseudo-labels that were kept, and clips that had no label, of each run with such."""
    clips = {division["name"]: division["train"] for division in results["task"]["divisions"]}
    found: dict[float, list[tuple[int, int]]] = {}
    for score in results["scores"].get(encoder, ()):
        for part in score["parts"]:
            if "pseudo_labels" in part:
                counts = (part["pseudo_labels"], clips[part["name"]] - part["train"])
                found.setdefault(score["label_fraction"], []).append(counts)
    return found


def _range(numbers: Sequence[int]) -> str:
    few, many = min(numbers), max(numbers)
    return number_text(few) if few == many else f"{number_text(few)} to {number_text(many)}"


def _mistake_table(found: Findings) -> Table | None:
    """Return the most frequent confusions of each encoder, with the most labels."""
    rows = []
    for each in found.lape:
        for encoder in filter(each.confusion.get, encoders_of([each.values])):
            matrices = each.confusion[encoder]
            text = "; ".join(_mistakes(matrices[max(matrices, key=float)])) or "none"
            rows.append(TableRow(f"{_title(each.values)}: {shown_name(encoder)}", [Cell(text)]))
    note = "With the most labels; summed over seeds, encoders of one name and folds."
    columns = [Column("true class taken for another (of its clips)", number=False)]
    source = f"{found.lape_folder}/<task>/confusion.json"
    return Table("Most frequent mistakes", source, "task and encoder", columns, rows, note) if rows else None


def _mistakes(matrix: dict[str, dict[str, int]]) -> Iterator[str]:
    wrong = [
        (count, true, predicted)
        for true, row in matrix.items()
        for predicted, count in row.items()
        if predicted != true
    ]
    wrong.sort(key=lambda mistake: (-mistake[0], mistake[1:]))
    for count, true, predicted in wrong[:SHOWN_MISTAKES]:
        yield f"{true} taken for {predicted} ({count} of {sum(matrix[true].values())})"


def _left_out_table(found: Findings) -> Table | None:
    items = [
        *found.lape_left_out,
        *(
            {"what": f"{_title(each.values)}: {item['what']}", "reason": item["reason"]}
            for each in found.lape
            for item in each.values["left_out"]
        ),
    ]
    return left_out_table(f"{found.lape_folder}/results.json and {found.lape_folder}/<task>/results.json", items)


def _title(results: JsonObject) -> str:
    return f"{results['task']['name']}, {MODES.get(results['mode'], results['mode'])}"


def _source(found: Findings, mode: str) -> str:
    return f"{found.lape_folder}/<task>/{'finetune/' if mode == 'finetune' else ''}results.json"


def _fractions(results: JsonObject, measure: str) -> list[str]:
    """Return the label fractions that any encoder has the measure of, smallest first."""
    summaries = results["summary"].values()
    return sorted({key for summary in summaries for key, scores in summary.items() if measure in scores}, key=float)


def _labels(fraction: str) -> str:
    return "all labels" if fraction == ALL_LABELS else f"{100 * float(fraction):g} % of labels"


def _summary(results: JsonObject, encoder: str, fraction: str, measure: str) -> Summary | None:
    """Return `mean`, `spread` and `runs`; `None` where the encoder was not measured so."""
    summary: Summary | None = results["summary"].get(encoder, {}).get(fraction, {}).get(measure)
    return summary


def _runs(tasks: Sequence[JsonObject]) -> str:
    """Return how many runs the values are of."""
    counts = {
        fraction[ACCURACY]["runs"]
        for results in tasks
        for summary in results["summary"].values()
        for fraction in summary.values()
    }
    few, many = min(counts), max(counts)
    return f"{few} run{'' if few == 1 else 's'}" if few == many else f"{few} to {many} runs"
