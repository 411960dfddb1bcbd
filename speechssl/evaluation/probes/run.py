"""`speechssl evaluate`: all probes of all encoders, side by side, in one run."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from speechssl.data.manifest import AUDIO
from speechssl.errors import UserError
from speechssl.evaluation.benchmark import require_own_folder, writing_alone
from speechssl.evaluation.encoders.contestants import Contestant, contestants
from speechssl.evaluation.extract import Request, WaveformCache, extract
from speechssl.evaluation.probes.columns import column_tasks, require_speakers
from speechssl.evaluation.probes.masked import MaskedAccuracy
from speechssl.evaluation.probes.phones import phone_task, require_phones
from speechssl.evaluation.probes.rankme import RankTask
from speechssl.evaluation.probes.results import Results
from speechssl.evaluation.probes.retrieval import retrieval_task
from speechssl.evaluation.probes.settings import MIN_SECONDS, EvaluateSettings
from speechssl.evaluation.probes.splits import NotProbed, own_parts
from speechssl.evaluation.probes.tasks import Task
from speechssl.evaluation.recordings import Recording, columns_of, read_recordings, unwatched_recordings
from speechssl.evaluation.sampling import sample
from speechssl.files import read_json
from speechssl.models.device import pick_device
from speechssl.progress import progress

logger = logging.getLogger(__name__)


def run_evaluate(settings: EvaluateSettings) -> Callable[[], None]:
    """Evaluate and write `results.json` and `results.md` into `out_dir`.

    Returns:
        what prints the table.
    """
    rivals = contestants(settings.encoders, settings.baselines)
    out = Path(settings.out_dir)
    require_own_folder(out, None)
    with writing_alone(out):
        _say_what_goes(out / "results.json", rivals)
        results = _measure(settings, rivals)
        results.write(out)
    return lambda: print(results.table())


def _say_what_goes(file: Path, rivals: Iterable[Contestant]) -> None:
    """Name the rows of an earlier command that this one's table does not have."""
    earlier = read_json(file).get("encoders", {}) if file.is_file() else {}
    names = {rival.name for rival in rivals}
    if lost := [name for name in earlier if name not in names]:
        print(
            f"evaluate: {file} has {', '.join(lost)} of an earlier command, which will be in it no longer: to keep "
            "them, name them as well, or give another out_dir"
        )


def _measure(settings: EvaluateSettings, rivals: Sequence[Contestant]) -> Results:
    """Return the scores of all encoders in all tasks."""
    results = Results(settings)
    data = _read(settings.data_dir, results)
    test = _read(settings.test_dir, results) if settings.test_dir else None
    _require_same_depth(rivals)
    if test is not None:
        _require_unheard(data, test, settings)
    tasks, masked = _plan(settings, data, test, results)
    fitting = [] if masked is None else _that_fit(masked, rivals, results)
    requests = merge(request for task in tasks for request in task.requests())
    cache = WaveformCache(settings.max_seconds)
    device = pick_device(settings.device)
    for rival in rivals:
        own = masked if rival.path in fitting else None
        _evaluate(rival, tasks, own, requests, cache, device, settings, results)
    for task in tasks:
        results.describe(task.name, task.description)
    if masked is not None:
        results.describe(masked.name, masked.description)
    return results


def evaluate_inputs(settings: EvaluateSettings) -> Iterable[Path]:
    """Yield the files that decide the results."""
    for folder in (settings.data_dir, settings.test_dir, *settings.phones_dirs):
        if folder:
            yield from sorted(Path(folder).glob("[!.]*.tsv"))
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
    if masked is not None:
        results.add_score(rival, masked.name, masked.score(rival.source, encoder, cache))
    logger.info("%s (%s): %.1f s", rival.name, rival.source, time.monotonic() - started)


def _require_same_depth(rivals: Iterable[Contestant]) -> None:
    """Raise a `UserError` where encoders of one row have not the same layers, whose scores are averaged."""
    first: dict[str, Contestant] = {}
    for rival in rivals:
        depth = first.setdefault(rival.name, rival).num_layers
        if rival.num_layers != depth:
            raise UserError(
                f"the encoders of {rival.name} have different depths ({depth} layers, {rival.source} "
                f"{rival.num_layers}): give each kind a name of its own"
            )


def _require_unheard(data: Iterable[Recording], test: Iterable[Recording], settings: EvaluateSettings) -> None:
    """Raise a `UserError` where recordings that are tested would be learnt from."""
    resolved = functools.cache(Path.resolve)  # of few roots; of millions of files it would take long
    learnt = {resolved(recording.root) / recording.name for recording in data}
    both = [recording.audio for recording in test if resolved(recording.root) / recording.name in learnt]
    if both:
        raise UserError(
            f"{len(both)} recordings of test_dir={settings.test_dir} are in data_dir, which is learnt from, too; the "
            f"first is {both[0]}: give others, or leave test_dir out"
        )


def _that_fit(masked: MaskedAccuracy, rivals: Iterable[Contestant], results: Results) -> list[str]:
    """Return the trained encoders that predict the units of `labels_dir`; the others are listed with the reason."""
    unfit = {rival.path: masked.unfit(rival.path) for rival in rivals if rival.path is not None}
    for path, reason in unfit.items():
        if reason:
            results.leave_out(f"masked accuracy of {path}", reason)
    fitting = [path for path, reason in unfit.items() if not reason]
    if not fitting:
        reason = next(iter(unfit.values()), "encoders names none")
        raise UserError(f"no encoder predicts the units of labels_dir: {reason}; or leave labels_dir out")
    return fitting


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
    spoken = {folder: _read(folder, results) for folder in settings.phones_dirs}
    require_phones(spoken.values(), settings)
    require_speakers([data, test or [], *spoken.values()], settings)
    for folder, recordings in spoken.items():
        try:
            tasks.append(phone_task(folder, recordings, settings))
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
