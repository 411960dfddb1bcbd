"""`speechssl evaluate`: all probes of all encoders, side by side, in one run."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from speechssl.data.manifest import AUDIO
from speechssl.errors import UserError
from speechssl.evaluation.benchmark import require_own_folder
from speechssl.evaluation.encoders.contestants import Contestant, contestants
from speechssl.evaluation.extract import Request, WaveformCache, extract
from speechssl.evaluation.probes.columns import column_tasks
from speechssl.evaluation.probes.masked import MaskedAccuracy
from speechssl.evaluation.probes.phones import phone_task
from speechssl.evaluation.probes.rankme import RankTask
from speechssl.evaluation.probes.results import Results
from speechssl.evaluation.probes.retrieval import retrieval_task
from speechssl.evaluation.probes.settings import MIN_SECONDS, EvaluateSettings
from speechssl.evaluation.probes.splits import NotProbed, own_parts
from speechssl.evaluation.probes.tasks import Task
from speechssl.evaluation.recordings import Recording, columns_of, read_recordings, unwatched_recordings
from speechssl.evaluation.sampling import sample
from speechssl.models.device import pick_device
from speechssl.progress import progress

logger = logging.getLogger(__name__)


def run_evaluate(settings: EvaluateSettings) -> None:
    """Evaluate and write `results.json` and `results.md` into `out_dir`; the table is printed as well."""
    rivals = contestants(settings.encoders, settings.baselines)
    require_own_folder(Path(settings.out_dir), None)
    results = Results(settings)
    data = _read(settings.data_dir, results)
    test = _read(settings.test_dir, results) if settings.test_dir else None
    tasks, masked = _plan(settings, data, test, results)
    requests = merge(request for task in tasks for request in task.requests())
    cache = WaveformCache(settings.max_seconds)
    device = pick_device(settings.device)
    for rival in rivals:
        _evaluate(rival, tasks, masked, requests, cache, device, settings, results)
    for task in tasks:
        results.describe(task.name, task.description)
    if masked is not None:
        results.describe(masked.name, masked.description)
    results.write(Path(settings.out_dir))
    print(results.table())


def evaluate_inputs(settings: EvaluateSettings) -> Iterable[Path]:
    """Yield the files that decide the results."""
    for folder in (settings.data_dir, settings.test_dir, *settings.phones_dirs):
        if folder:
            yield from sorted(Path(folder).glob("*.tsv"))
            yield Path(folder) / AUDIO
    if settings.labels_dir:
        yield from sorted(Path(settings.labels_dir).glob("valid.km*"))
    for rival in contestants(settings.encoders, settings.baselines):
        yield from rival.files()


def evaluate_audio(settings: EvaluateSettings) -> Iterable[Path]:
    """Yield the recordings of all folders whose changes none of the inputs tells."""
    for folder in (settings.data_dir, settings.test_dir, *settings.phones_dirs):
        if folder:
            yield from unwatched_recordings(folder)


def evaluate_outputs(settings: EvaluateSettings) -> Iterable[Path]:
    """Return the files that are made."""
    return Path(settings.out_dir) / "results.json", Path(settings.out_dir) / "results.md"


def merge(requests: Iterable[Request]) -> list[Request]:
    """Return one request for each recording that asks for all that its requests do."""
    merged: dict[Path, Request] = {}
    for request in requests:
        known = merged.setdefault(request.recording.audio, Request(request.recording))
        known.pooled |= request.pooled
        known.sequence |= request.sequence
        known.rank_frames = max(known.rank_frames, request.rank_frames)
        if request.phone_frames:
            # The phone probe has its own view of the recording, without the phones that it leaves out.
            known.recording, known.phone_frames = request.recording, request.phone_frames
    return list(merged.values())


def _evaluate(
    rival: Contestant,
    tasks: list[Task],
    masked: MaskedAccuracy | None,
    requests: list[Request],
    cache: WaveformCache,
    device: torch.device,
    settings: EvaluateSettings,
    results: Results,
) -> None:
    """Extract the hidden states of one encoder and score every task."""
    started = time.monotonic()
    encoder = rival.build().to(device)
    hidden = extract(encoder, requests, cache, settings.batch_seconds, settings.seed, rival.source)
    results.add_encoder(rival, encoder)
    for task in progress(tasks, f"probing {rival.source}", "task"):
        results.add_score(rival, task.name, task.score(hidden, encoder))
    if masked is not None and rival.path is not None:
        try:
            results.add_score(rival, masked.name, masked.score(rival.path, encoder, cache))
        except NotProbed as reason:
            results.leave_out(f"masked accuracy of {rival.source}", str(reason))
    logger.info("%s (%s): %.1f s", rival.name, rival.source, time.monotonic() - started)


def _plan(
    settings: EvaluateSettings, data: list[Recording], test: list[Recording] | None, results: Results
) -> tuple[list[Task], MaskedAccuracy | None]:
    """Return the tasks that the recordings allow; the others are listed with the reason."""
    used = _sample(data, settings)
    tested = None if test is None else _sample(test, settings)
    columns, left_out = column_tasks(columns_of(data), used, tested, settings)
    for item in left_out:
        results.leave_out(item["what"], item["reason"])
    tasks: list[Task] = [*columns]
    for folder in settings.phones_dirs:
        try:
            tasks.append(phone_task(folder, _read(folder, results), settings))
        except NotProbed as reason:
            results.leave_out(f"phones of {folder}", str(reason))
    try:
        tasks.append(retrieval_task(data, test, settings))
    except NotProbed as reason:
        results.leave_out("retrieval", str(reason))
    tasks.append(RankTask(used, settings))
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise UserError("two tasks have the same name; give phones_dirs folders of different names")
    if settings.labels_dir is None:
        results.leave_out("masked accuracy", "no labels_dir")
        return tasks, None
    return tasks, MaskedAccuracy(data, settings)


def _sample(recordings: list[Recording], settings: EvaluateSettings) -> list[Recording]:
    """Draw the recordings that are probed, of a folder's own test splits as many again, in the order of their names."""
    parts = own_parts(recordings)
    groups = [recordings] if parts is None else [parts["train"] + parts["dev"], parts["test"]]
    drawn = [
        recording
        for group in groups
        for recording in sample(group, settings.probe.utterances, settings.seed, lambda recording: recording.name)
    ]
    return sorted(drawn, key=lambda recording: recording.place)


def _read(folder: str, results: Results) -> list[Recording]:
    """Read a folder without the recordings that are too short; they are listed."""
    recordings = read_recordings(folder)
    long_enough = [recording for recording in recordings if recording.seconds >= MIN_SECONDS]
    if not long_enough:
        raise UserError(f"{folder} has no recording of {MIN_SECONDS} s or more")
    short = [recording.name for recording in recordings if recording.seconds < MIN_SECONDS]
    if short:
        results.leave_out(f"{len(short)} recordings of {folder}", f"shorter than {MIN_SECONDS} s: {', '.join(short)}")
    return long_enough
