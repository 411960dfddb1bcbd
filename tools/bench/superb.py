"""SUPERB beside s3prl's own loop: the same csv, encoder, updates, learning rate and seed; metric, time and memory.

usage: python tools/bench/superb.py --task ks|sid|asr --data DIR [--encoder RUN] [--clips 200] [--steps 100]
                                   [--lr 1e-3] [--seeds 1 2 3] [--threads 2] [--head-bf16]

DIR is a task of `speechssl evaluate benchmark=superb` (train.csv, valid.csv, test.csv); `--clips` takes so many of
its training part, a quarter as many for validation and test. Without --encoder it is a HuBERT Base of new weights,
exported for s3prl: both sides run s3prl's `hubert_local`. With --encoder s3prl runs our encoder as its upstream
`speechssl` (`speechssl.evaluation.encoders.s3prl_upstream`). Each side is a process of its own, from the csv to the
test score, with no cache of an earlier run. s3prl runs its problem class with its published settings, but for the
number of updates, one look at validation at the end, no random crops (SID), and reading in the process itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

COLUMN = {"ks": "label", "sid": "label", "asr": "transcription"}
METRIC = {"ks": "accuracy", "sid": "accuracy", "asr": "wer"}
PROBLEM = {"ks": "SuperbKS", "sid": "SuperbSID", "asr": "SuperbASR"}


def main() -> None:
    """Run both sides for each seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=COLUMN, required=True)
    parser.add_argument("--data", required=True, help="folder of train.csv, valid.csv and test.csv")
    parser.add_argument("--encoder", help="a run folder; without it HuBERT Base of new weights")
    parser.add_argument("--clips", type=int, default=200, help="utterances to train on; 0: all")
    parser.add_argument("--steps", type=int, default=100, help="updates")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of the heads")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch")
    parser.add_argument("--head-bf16", action="store_true", help="our side with head_bf16=true (asr)")
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        run_peer(json.loads(arguments.peer))
        return
    print(f"{'':10} seed  {METRIC[arguments.task]:>9} seconds   peak MB")
    with tempfile.TemporaryDirectory() as folder:
        tables = cut_tables(Path(arguments.data), Path(folder) / "task", COLUMN[arguments.task], arguments.clips)
        source, upstream = encoder_of(arguments.encoder, Path(folder))
        for seed in arguments.seeds:
            out = Path(folder) / f"seed{seed}"
            theirs = timed(peer_command(arguments, tables, upstream, seed, out / "s3prl"), arguments.threads)
            theirs["metric"] = peer_metric(out / "s3prl", METRIC[arguments.task])
            show("s3prl", seed, theirs)
            ours = timed(our_command(arguments, tables, source, seed, out), arguments.threads)
            results = json.loads((out / "speechssl" / arguments.task / "results.json").read_text())
            ours["metric"] = results["scores"]["hubert"][0]["test"][METRIC[arguments.task]]
            show("speechssl", seed, ours)
            print(f"ratio      {seed:4}  {'':9} {theirs['seconds'] / ours['seconds']:7.1f}", flush=True)


def show(side: str, seed: int, measured: dict[str, float]) -> None:
    """Print a line."""
    print(
        f"{side:10} {seed:4}  {measured['metric']:9.4f} {measured['seconds']:7.1f}   {measured['megabytes']:7.0f}",
        flush=True,
    )


def cut_tables(data: Path, folder: Path, column: str, clips: int) -> Path:
    """Write the first lines of each part, with absolute paths, in the columns of both sides."""
    folder.mkdir()
    for part, most in (("train", clips), ("valid", clips // 4), ("test", clips // 4)):
        with open(data / f"{part}.csv", newline="") as stream:
            rows = list(csv.DictReader(stream))
        # Spread over the file: a corpus sorted by class or speaker would lose most of them.
        rows = rows[:: max(1, len(rows) // most)][:most] if clips else rows
        with open(folder / f"{part}.csv", "w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["id", "path", "wav_path", column])
            for row in rows:
                path = (data / row["path"]).absolute()
                writer.writerow([row["id"], path, path, row[column]])
    return folder


def encoder_of(run: str | None, folder: Path) -> tuple[str, dict[str, str]]:
    """Return the encoder as our side and as s3prl's names it; without a run folder, write a HuBERT Base for both."""
    if run:
        return run, {"name": "speechssl", "path_or_url": run}
    from speechssl.export import s3prl
    from speechssl.models.hubert import HubertEncoder
    from speechssl.models.hubert_config import size_config

    torch.manual_seed(0)
    s3prl.write(HubertEncoder(size_config("base")), None, folder)
    checkpoint = folder / "model.pt"
    return f"s3prl:hubert_local?ckpt={checkpoint}", {"name": "hubert_local", "path_or_url": str(checkpoint)}


def timed(command: list[str], threads: int) -> dict[str, Any]:
    """Run a command; return its time and the memory at its peak."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    started = time.monotonic()
    done = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    output, _ = done.communicate()
    seconds = time.monotonic() - started
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{output[-3000:]}")
    peak = [line for line in output.splitlines() if line.startswith("PEAK ")]
    return {"seconds": seconds, "megabytes": float(peak[-1].split()[1]) if peak else float("nan")}


def our_command(arguments: argparse.Namespace, tables: Path, source: str, seed: int, out: Path) -> list[str]:
    """Return the command line of our side."""
    settings = [
        f"task={arguments.task}",
        f"data_dir={tables}",
        f"out_dir={out / 'speechssl'}",
        f"cache_dir={out / 'cache'}",
        f"encoders={{hubert: '{source}'}}",
        "baselines=[]",
        f"steps={arguments.steps}",
        f"check_every={arguments.steps}",
        f"lr=[{arguments.lr}]",
        f"seeds=[{seed}]",
        *(["head_bf16=true"] if arguments.head_bf16 else []),
    ]
    return [sys.executable, __file__, *common(arguments), "--peer", json.dumps({"ours": settings})]


def peer_command(
    arguments: argparse.Namespace, tables: Path, upstream: dict[str, str], seed: int, out: Path
) -> list[str]:
    """Return the command line of s3prl's side."""
    plan = {
        "task": arguments.task,
        "tables": str(tables),
        "upstream": upstream,
        "steps": arguments.steps,
        "lr": arguments.lr,
        "seed": seed,
        "out": str(out),
    }
    return [sys.executable, __file__, *common(arguments), "--peer", json.dumps(plan)]


def common(arguments: argparse.Namespace) -> list[str]:
    """Return what the parser wants of a child."""
    return ["--task", arguments.task, "--data", arguments.data]


def run_peer(plan: dict[str, Any]) -> None:
    """Run one side in this process, and print the memory at its peak."""
    import resource

    if "ours" in plan:
        from speechssl.cli.app import main as speechssl

        if speechssl(["evaluate", "benchmark=superb", *plan["ours"]]) != 0:
            raise SystemExit(1)
    else:
        run_s3prl(plan)
    print(f"PEAK {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


def run_s3prl(plan: dict[str, Any]) -> None:
    """Run s3prl's problem on the csv files."""
    from speechssl.evaluation.encoders.s3prl_upstream import register

    register()
    from s3prl import problem

    tables = [Path(plan["tables"]) / f"{part}.csv" for part in ("train", "valid", "test")]
    runner = getattr(problem, PROBLEM[plan["task"]])()
    runner.prepare_data = lambda *given, **named: (tables[0], tables[1], [tables[2]])
    settings = runner.default_config()
    updates = settings["train"]
    updates |= {"total_steps": plan["steps"], "eval_step": plan["steps"], "save_step": 10 * plan["steps"]}
    updates["seed"] = plan["seed"]
    # Building the upstream seeds torch with 0 (util/pseudo_data.py): all heads would begin alike, whatever the seed.
    build_head = runner.build_downstream

    def build_seeded(*given: Any, **named: Any) -> Any:
        torch.manual_seed(plan["seed"])
        return build_head(*given, **named)

    runner.build_downstream = build_seeded
    # The order of batches has a seed of its own, the same for all runs.
    settings["build_batch_sampler"]["train"]["seed"] = plan["seed"]
    settings["build_optimizer"]["conf"]["lr"] = plan["lr"]
    settings["build_upstream"] = plan["upstream"]
    settings["prepare_data"] = {}
    if plan["task"] == "sid":
        settings["build_dataset"] = {}
        # The published batch of 32 at once, as our side has it, not four times eight.
        settings["build_batch_sampler"]["train"]["batch_size"] = 32
        updates["gradient_accumulate"] = 1
    settings |= {"target_dir": plan["out"], "cache_dir": f"{plan['out']}/cache", "device": "cpu", "num_workers": 0}
    runner.run(**settings)


def peer_metric(out: Path, name: str) -> float:
    """Return the test score that s3prl wrote."""
    (file,) = out.glob("evaluate/*/test/result.yaml")
    values = dict(line.split(": ") for line in file.read_text().splitlines())
    return float(values[name])


if __name__ == "__main__":
    main()
