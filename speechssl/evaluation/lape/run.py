"""`speechssl evaluate benchmark=lape`: one task, all encoders side by side."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from speechssl.data.manifest import AUDIO
from speechssl.evaluation.device import pick_device
from speechssl.evaluation.encoders import Contestant, contestants
from speechssl.evaluation.lape.clips import Clips
from speechssl.evaluation.lape.data import TaskData, data_folder, read_task
from speechssl.evaluation.lape.features import pooled_features
from speechssl.evaluation.lape.overview import task_text, write_overview
from speechssl.evaluation.lape.results import LapeResults
from speechssl.evaluation.lape.scores import score_features
from speechssl.evaluation.lape.settings import LapeSettings, Protocol
from speechssl.evaluation.lape.splits import Division, divide, with_valid
from speechssl.progress import progress

FBANK_RATE = 100.0
"""Frames a second of the baseline `fbank`: one frame of 80 bands each 10 ms."""

logger = logging.getLogger(__name__)


def run_lape(settings: LapeSettings) -> None:
    """Evaluate all encoders in one task, write its results and the table of all tasks in `out_dir`, and print it."""
    rivals = _rivals(settings)
    task = settings.task
    data = read_task(data_folder(settings), task)
    divisions = divide(data, task)
    if settings.protocol is Protocol.sound:
        divisions = [with_valid(division, data, task) for division in divisions]
    results = LapeResults(settings, data, divisions)
    clips = Clips(task.clip_seconds, settings.workers)
    device = pick_device(settings.device)
    for rival in rivals:
        _evaluate(rival, data, divisions, clips, device, settings, results)
    out = Path(settings.out_dir)
    results.write(out / task.name)
    write_overview(out)
    print(task_text(results.to_json()))
    print(f"lape: {task.name} in {out / task.name}, all tasks in {out / 'results.md'}")


def lape_inputs(settings: LapeSettings) -> Iterable[Path]:
    """Yield the files that decide the results. The manifest is made where only the data set's own folder is given."""
    rivals = _rivals(settings)
    folder = data_folder(settings)
    yield from sorted(folder.glob("*.tsv"))
    yield folder / AUDIO
    for rival in rivals:
        if rival.path is not None:
            path = Path(rival.path)
            yield from sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]


def lape_outputs(settings: LapeSettings) -> Iterable[Path]:
    """Return the files that are made."""
    out = Path(settings.out_dir)
    own = [out / settings.task.name / name for name in ("results.json", "confusion.json", "confusion.png")]
    return [*own, *(out / f"results.{ending}" for ending in ("json", "md", "tex"))]


def _rivals(settings: LapeSettings) -> list[Contestant]:
    """Return all encoders; filterbanks are not stacked, since the mean over time is all that is used of them."""
    return contestants(settings.encoders, settings.baselines, FBANK_RATE)


def _evaluate(
    rival: Contestant,
    data: TaskData,
    divisions: list[Division],
    clips: Clips,
    device: torch.device,
    settings: LapeSettings,
    results: LapeResults,
) -> None:
    """Encode all clips once, then train and score all heads on the vectors."""
    started = time.monotonic()
    encoder = rival.build()
    features = pooled_features(encoder, data.recordings, clips, settings.batch_seconds, device, rival.source)
    encoded = time.monotonic()
    heads = len(settings.label_fractions) * len(settings.seeds)
    for score in progress(
        score_features(features, data, divisions, settings), f"heads on {rival.source}", "head", heads
    ):
        results.add(rival, encoder, score)
    logger.info(
        "%s (%s): encoding %.1f s, heads %.1f s",
        rival.name,
        rival.source,
        encoded - started,
        time.monotonic() - encoded,
    )
