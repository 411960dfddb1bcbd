"""Tables of several tasks, with what must be said of them."""

from __future__ import annotations

import re
from typing import Any

from speechssl.evaluation.lape.tables import captions, overview_table, task_table
from speechssl.evaluation.latex import latex_table


def results(name: str, protocol: str, values: dict[str, dict[str, float]], **published: float) -> dict[str, Any]:
    """Return what a table needs; `values` are mean accuracies by encoder and label fraction."""

    def cell(mean: float) -> dict[str, Any]:
        return {kind: {"mean": mean, "spread": 0.0123, "runs": 3} for kind in ("accuracy", "balanced_accuracy")}

    return {
        "mode": "finetune" if protocol == "paper" else "linear",
        "protocol": protocol,
        "chosen": f"as {protocol} does",
        "settings": {"finetune": {"sla": {"transformations": []}, "pseudo_labels": {"confidence": None}}},
        "task": {"name": name, "published": published},
        "encoders": [{"name": encoder, "parameters": 5321856, "dim": 2048} for encoder in values],
        "summary": {encoder: {key: cell(mean) for key, mean in means.items()} for encoder, means in values.items()},
    }


ESC = results("esc_50", "sound", {"fbank": {"1": 0.25}, "ours": {"0.1": 0.4, "1": 0.755}})
BIRDS = results("birds", "paper", {"ours": {"1": 0.8}}, them=77.25)


def test_encoders_and_label_fractions_are_lines_and_tasks_are_columns() -> None:
    assert overview_table([BIRDS, ESC]) == [
        ["encoder", "birds (fine-tuned, paper)", "esc_50 (linear, sound)"],
        ["ours, 10 % of labels", "-", "40.0 ± 1.2"],
        ["ours", "80.0 ± 1.2", "75.5 ± 1.2"],
        ["fbank", "-", "25.0 ± 1.2"],
        ["them (published, maximum over epochs)", "77.2", "-"],
    ]


def test_the_table_of_a_task_has_a_column_for_each_fraction() -> None:
    header, fbank, ours = task_table(ESC)
    assert header[:4] == ["encoder", "accuracy, 10 % of labels", "accuracy", "balanced accuracy"]
    assert fbank == ["fbank", "-", "25.0 ± 1.2", "25.0 ± 1.2", "5 321 856", "2048"]
    assert ours[1:3] == ["40.0 ± 1.2", "75.5 ± 1.2"]
    assert [len(row) for row in task_table(BIRDS)] == [5, 5, 5]


def test_what_fine_tuning_did_besides_is_said() -> None:
    extras = {"sla": {"transformations": ["slower", "faster"]}, "pseudo_labels": {"confidence": 0.9}}
    said = " ".join(captions([ESC, {**BIRDS, "settings": {"finetune": extras}}]))
    assert "with augmented labels: slower, faster (arXiv" in said and "above a confidence of 0.9 (arXiv" in said
    assert "arXiv" not in " ".join(captions([ESC, BIRDS]))


def test_distances_have_columns_where_the_classes_have_them() -> None:
    cell = {"mean": 0.5, "spread": 0.0625, "runs": 3}
    kinds = ("accuracy", "balanced_accuracy", "mean_distance", "loki_accuracy", "loki_mean_distance")
    far = {**BIRDS, "summary": {"ours": {"1": dict.fromkeys(kinds, cell)}}}
    header, ours, them = task_table(far)
    assert header[2:6] == ["balanced accuracy", "mean distance", "accuracy (Loki)", "mean distance (Loki)"]
    assert ours[2:6] == ["50.0 ± 6.2", "0.50 ± 0.06", "50.0 ± 6.2", "0.50 ± 0.06"]
    assert len(them) == len(header) == 8
    assert "arXiv 2307.12226" in " ".join(captions([ESC, far])) and "Loki" not in " ".join(captions([ESC]))


def test_captions_name_each_mode_and_protocol_once() -> None:
    lines = captions([ESC, BIRDS, ESC])
    assert lines[1:] == [
        "Linear: a linear head on frozen encoders.",
        "Fine-tuned: encoder and linear head learn together; `random` is supervised training from scratch.",
        "Protocol sound: as sound does.",
        "Protocol paper: as paper does.",
        "Published scores are maxima of the test accuracy over the epochs.",
    ]


def test_latex_has_as_many_cells_in_each_line_and_no_bare_special_character() -> None:
    text = latex_table(overview_table([BIRDS, ESC]), ["100 % & _"])
    assert text.startswith("\\begin{tabular}{lrr}\n") and text.endswith("\\end{tabular}\n")
    lines = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in lines] == [2] * 5  # header and four lines
    assert r"esc\_50 (linear, sound)" in text and r"10 \% of labels" in text and r"40.0 $\pm$ 1.2" in text
    assert not re.search(r"(?<!\\)[%#_]", text)
    assert r"\multicolumn{3}{l}{\footnotesize 100 \% \& \_}" in text
