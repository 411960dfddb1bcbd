"""A small invented experiment folder, as the stages of a recipe leave it."""

from __future__ import annotations

import json
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))


def write_png(path: Path) -> None:
    """One red pixel, by the PNG specification."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\0\xff\0\0")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b""))


def write_run(folder: Path, slope: float, topics: bool) -> None:
    for split, steps in (("train", range(10, 2001, 2)), ("valid", range(200, 2001, 200))):
        lines = []
        for step in steps:
            noise = 0.05 * math.sin(7.3 * step) if split == "train" else 0.02
            line = {
                "step": step,
                "loss": 5 - slope * math.log(step) + noise,
                "masked_loss": 4.6 - slope * math.log(step) + noise,
                "masked_accuracy": 0.03 * math.log(step) * slope + noise / 10,
                "lr": 5e-4 * min(1, step / 200),
                "audio_seconds_per_second": 160 + 10 * noise,
            }
            if topics:
                line |= {"topic_loss": 2.3 - 0.1 * math.log(step), "topic_accuracy": 0.06 * math.log(step)}
            lines.append(json.dumps(line))
        write(folder / f"metrics/{split}.jsonl", "\n".join(lines) + "\n")
    write(folder / "config.yaml", "model:\n  layers: 6\n  dim: 256\nrun:\n  minutes: 7\n")


def topic_quality() -> dict[str, Any]:
    columns = {
        "language": {"utterances": 400, "values": 5, "nmi": 0.604, "homogeneity": 0.71},
        "speaker": {"utterances": 400, "values": 9, "nmi": 0.55, "homogeneity": 0.5},
        "gender": {"utterances": 390, "values": 1},
    }
    split = {
        "utterances": 400,
        "topic_sizes": [100, 80, 220],
        "mean_largest_posterior": 0.83,
        "bits_per_word_bound": 6.4,
        "columns": columns,
        "empty_documents": 0,
        "empty_document_paths": [],
    }
    words = [[[f"{topic}_{word}", 0.1] for word in range(10, 30)] for topic in range(3)]
    return {
        "topics": 3,
        "vocabulary": 2000,
        "columns": columns,
        "coherence_umass": -1.7,
        "topic_coherence_umass": [-1.2, -1.9, -2.0],
        "top_words": words,
        "splits": {"train": split, "valid": split},
    }


def score(level: float, layers: int) -> dict[str, Any]:
    curve = [level + 0.1 * math.sin(layer) for layer in range(layers)]
    weights = [(layer + 1) * 2 / (layers * (layers + 1)) for layer in range(layers)]
    return {"layers": curve, "best": max(curve), "best_layer": 1, "weighted": level + 0.05, "layer_weights": weights}


def evaluation() -> dict[str, Any]:
    column = {"metric": "accuracy", "better": "more", "kind": "utterances", "classes": 5, "test": 300, "train": 900}
    tasks = {
        "language": {**column, "metric": "balanced accuracy", "parts": "by speaker", "chance": 0.2},
        "phones flite": {**column, "kind": "frames", "chance": 0.08},
        "retrieval": {"metric": "top-1", "better": "more", "kind": "retrieval", "queries": 200, "chance": 0.02},
        "masked accuracy": {"metric": "masked accuracy", "better": "more"},
        "rankme": {"metric": "RankMe", "better": "", "kind": "frames"},
    }
    scores: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for number, encoder in enumerate(("hubert", "fbank", "random", "hubertopic")):
        layers = 1 if encoder == "fbank" else 7
        seeds = 1 if encoder == "fbank" else 3
        rank = [{"layers": [40.0 + 3 * layer for layer in range(layers)], "value": 40.0 + 3 * (layers - 1)}] * seeds
        scores[encoder] = {
            "language": [score(0.2 + 0.03 * number + 0.01 * seed, layers) for seed in range(seeds)],
            "phones flite": [score(0.3 + 0.02 * number + 0.01 * seed, layers) for seed in range(seeds)],
            "retrieval": [{"layers": [0.5] * layers, "best": 0.67, "best_layer": 2}] * seeds,
            "rankme": rank,
        }
        if encoder.startswith("hubert"):
            scores[encoder]["masked accuracy"] = [{"value": 0.2 + 0.01 * seed} for seed in range(seeds)]
    left_out = [{"what": "probe of column gender", "reason": "one class only"}]
    facts = {"frame_rate": 25.0, "dim": 256, "num_layers": 6, "parameters": 5_012_345}
    encoders = {name: {**facts, "sources": [f"exp/{name}-seed1"]} for name in scores}
    return {"tasks": tasks, "scores": scores, "left_out": left_out, "encoders": encoders}


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    folder = tmp_path / "mini"
    unit = {"utterances": 400, "frames": 120345, "run_length": 2.13, "used_clusters": 98, "perplexity": 71.4}
    phone = {"pnmi": 0.258, "phone_purity": 0.31, "cluster_purity": 0.12, "phones": 39, "aligned_frames": 0.93}
    write(folder / "units/quality.json", {"train": {**unit, **phone}, "valid": {**unit, "used_clusters": 91, **phone}})
    write(folder / "units/kmeans.json", {"k": 100, "dim": 39, "frame_rate": 100.0, "features": {"kind": "mfcc"}})
    write_png(folder / "topics/topics.png")
    write(folder / "topics/quality.json", topic_quality())
    for seed in (1, 2, 3):
        write_run(folder / f"hubert-seed{seed}", 0.2 + 0.01 * seed, topics=False)
        write_run(folder / f"hubertopic-seed{seed}", 0.22 + 0.01 * seed, topics=True)
    write(folder / "evaluate/results.json", evaluation())
    write(folder / "export/hubert/huggingface/config.json", {"hidden_size": 256})
    write(folder / "export/hubert/huggingface/model.safetensors", "0" * 40_000)
    write(folder / "export/hubert/check.json", {"huggingface": {"largest_difference": 2.4e-06}})
    command = "cd /home/me/speechssl && bash recipes/mini/hubertopic/run.sh --method both --seeds 3"
    write(folder / "run.sh", f"#!/usr/bin/env bash\n# Does this run again.\n{command}\n")
    return folder


def write_lines(file: Path, lines: list[dict[str, float]]) -> None:
    write(file, "".join(json.dumps(line) + "\n" for line in lines))


def write_clip_runs(exp: Path, seed: int, ranks: list[float]) -> None:
    """A pretrained encoder whose RankMe is as given at each validation, and a distilled one."""
    speed = {"lr": 0.001, "audio_seconds_per_second": 900.0}
    steps = range(100, 100 * len(ranks) + 1, 100)
    pretrained, unfused = exp / f"pretrained-seed{seed}/metrics", exp / f"unfused-seed{seed}/metrics"
    write_lines(pretrained / "train.jsonl", [{"step": step, "cluster_loss": 900 / step, **speed} for step in steps])
    watched = [
        {"step": step, "rankme": rank, "feature_variance": rank / 100, "knn_accuracy": rank / 50}
        for step, rank in zip(steps, ranks, strict=True)
    ]
    write_lines(pretrained / "valid.jsonl", watched)
    for split in ("train", "valid"):
        accuracies = {"pseudo_label_accuracy": 0.5 + seed / 10, "pseudo_label_accuracy_tap1": 0.25}
        lines = [{"step": step, "distillation_loss": 400 / step, **accuracies} for step in steps]
        write_lines(unfused / f"{split}.jsonl", lines)


def cluster_quality(sizes: list[int], nmi: float, silhouette: dict[str, float]) -> dict[str, Any]:
    """By the words of `speechssl.clusters.stage`."""
    columns = {
        "language": {"utterances": sum(sizes), "values": 5, "nmi": nmi, "homogeneity": nmi / 2},
        "speaker": {"utterances": sum(sizes), "values": 1},
    }
    split = {"recordings": sum(sizes), "sizes": sizes, "columns": columns}
    halves = {**split, "recordings": sum(sizes) // 2, "sizes": [size // 2 for size in sizes]}
    return {"k": len(sizes), "silhouette": silhouette, "train": split, "valid": halves}


def cell(mean: float, spread: float = 0.0, runs: int = 1) -> dict[str, Any]:
    balanced = {"mean": mean / 2, "spread": spread, "runs": runs}
    return {"accuracy": {"mean": mean, "spread": spread, "runs": runs}, "balanced_accuracy": balanced}


def lape_results(task: dict[str, Any], summary: dict[str, Any], **others: Any) -> dict[str, Any]:
    """By the words of `speechssl.evaluation.lape.results`; of the `scores` only pseudo-labels are shown."""
    division = {"name": "official", "train": 900, "valid": 100, "valid_is": "of train, stratified", "test": 300}
    known = {"column": "class", "group_column": "speaker", "corpus": "folder", "split": "official", "note": ""}
    sizes = {"clip_seconds": 4.0, "clips": 1300, "padded": 12, "cut": 700, "published": {}, "chance": 0.25}
    facts = {"frame_rate": 25.0, "dim": 2048, "parameters": 5_321_856}
    return {
        "benchmark": "lape",
        "mode": "linear",
        "protocol": "sound",
        "chosen": "learning rate and epoch chosen on validation",
        "settings": {"epochs": 30, "seeds": [1, 2, 3]},
        "task": {
            **known,
            **sizes,
            "classes": ["de", "en", "fr", "it"],
            "most_frequent_class": 0.31,
            "divisions": [{**division, "missing_from_train": {}}],
            **task,
        },
        "encoders": [{"name": name, **facts, "sources": [f"exp/{name}-seed1"]} for name in summary],
        "scores": {name: [] for name in summary},
        "summary": dict(sorted(summary.items())),
        "left_out": [],
        **others,
    }


def write_languages(lape: Path) -> None:
    """A task with three label fractions, linear and fine-tuned; the first two of the linear ones read the same."""
    linear = {
        "unfused": {"0.01": cell(0.42, 0.02, 3), "0.1": cell(0.612, 0.0123, 3), "1": cell(0.80049, 0.004, 3)},
        "pretrained": {"0.01": cell(0.35, 0.03, 3), "0.1": cell(0.7, 0.01, 3), "1": cell(0.7998, 0.005, 3)},
        "fbank": {"0.01": cell(0.31, 0.0, 3), "0.1": cell(0.33, 0.01, 3), "1": cell(0.4, 0.01, 3)},
    }
    tuned = {name: {fraction: cell(0.5) for fraction in linear[name]} for name in ("unfused", "pretrained")}
    reason = "filterbanks have no weights, so they cannot be fine-tuned"
    task = {"name": "languages"}
    write(lape / "languages/results.json", lape_results(task, linear))
    left_out = [{"what": "fbank", "reason": reason}]
    write(lape / "languages/finetune/results.json", lape_results(task, tuned, mode="finetune", left_out=left_out))
    matrix = {"de": {"de": 70, "en": 5}, "en": {"en": 60, "de": 12, "fr": 3}, "fr": {"fr": 70, "it": 5}, "it": {}}
    few = {"de": {"it": 75}, "en": {"en": 75}, "fr": {}, "it": {}}
    right = {"de": {"de": 75}, "en": {"en": 75}, "fr": {"fr": 75}, "it": {}}
    confusion = {"pretrained": {"0.1": few, "1": matrix}, "unfused": {"1": right}}
    write(lape / "languages/confusion.json", confusion)
    write_png(lape / "languages/confusion.png")


def write_birds(lape: Path) -> None:
    """A task in the protocol of the papers, with a published score and a class that one fold never heard."""
    folds = [
        {"name": "fold 1", "train": 50, "test": 25, "missing_from_train": {"it": 4}},
        {"name": "fold 2", "train": 50, "test": 25, "missing_from_train": {}},
    ]
    folds[1] |= {"test_groups": 9, "groups_also_in_train": 2}
    task = {"name": "birds", "divisions": folds, "published": {"DECAR": 77.25}, "note": "Not a task of LAPE."}
    summary = {"pretrained": {"0.1": cell(0.092), "1": cell(0.7)}}
    chosen = "MAXIMUM of the test accuracy over the epochs"
    write(lape / "birds/results.json", lape_results(task, summary, protocol="paper", chosen=chosen))


@pytest.fixture
def clip_exp(tmp_path: Path) -> Path:
    """What `recipes/lape/unfused` leaves, with two seeds of which the second collapsed, and a second task."""
    folder = tmp_path / "lape"
    write_clip_runs(folder, 1, [20.0, 15.0, 30.0])
    write_clip_runs(folder, 2, [20.0, 3.0, 1.02])
    write(folder / "clusters-seed1/quality.json", cluster_quality([30, 5, 0, 40], 0.62, {"2": 0.11, "4": 0.23}))
    write(folder / "clusters-seed2/quality.json", cluster_quality([40, 35], 0.48, {}))
    write_languages(folder / "lape")
    missing = [{"what": "nsynth", "reason": "no folder nsynth"}]
    write_birds(folder / "lape")
    write(folder / "lape/results.json", {"benchmark": "lape", "tasks": {}, "left_out": missing})
    write(folder / "run.sh", "#!/usr/bin/env bash\ncd /home/me && bash recipes/lape/unfused/run.sh --seeds 2\n")
    return folder
