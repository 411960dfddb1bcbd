"""`speechssl evaluate benchmark=lape`: one task, all encoders side by side."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

from speechssl.data.manifest import AUDIO
from speechssl.errors import UserError
from speechssl.evaluation.benchmark import require_own_folder, sources_of_rows, take_away, writing_alone
from speechssl.evaluation.encoders.baselines import FBANK_RATE
from speechssl.evaluation.encoders.contestants import FBANK, Contestant, contestants
from speechssl.evaluation.lape.clips import Clips
from speechssl.evaluation.lape.data import TaskData, data_folder, read_task
from speechssl.evaluation.lape.features import pooled_features, require_frames
from speechssl.evaluation.lape.overview import FINETUNE, OVERVIEW
from speechssl.evaluation.lape.results import BENCHMARK, LapeResults
from speechssl.evaluation.lape.scores import score_features
from speechssl.evaluation.lape.settings import LapeSettings, Mode, Protocol
from speechssl.evaluation.lape.splits import Division, divide, with_valid
from speechssl.evaluation.recordings import read_recordings
from speechssl.evaluation.vectors import VECTORS, VectorFile, vectors_name
from speechssl.models.device import pick_device
from speechssl.progress import progress

logger = logging.getLogger(__name__)


def run_lape(settings: LapeSettings) -> Callable[[], None] | None:
    """Evaluate all encoders in one task, and write its results and the table of all tasks in `out_dir`.

    Returns:
        what prints the results, and takes away the vectors that were kept; None in the other processes of torchrun.
    """
    out = Path(settings.out_dir)
    require_own_folder(out, BENCHMARK)
    rivals, left_out = choose_encoders(settings)
    task = settings.task
    clips = Clips(task.clip_seconds, settings.workers, settings.cache_gb)
    require_frames(rivals, clips)
    data = read_task(data_folder(settings), task)
    data.left_out += left_out
    divisions = divide(data, task)
    if settings.protocol is Protocol.sound:
        divisions = [with_valid(division, data, task) for division in divisions]
    folder = _results_folder(settings)
    with writing_alone(folder):
        results = LapeResults(settings, data, divisions, folder, rivals)
        if settings.mode is Mode.linear:
            device = pick_device(settings.device)
            kept = [_evaluate(rival, data, divisions, clips, device, settings, results) for rival in rivals]
        elif _finetune(rivals, data, divisions, clips, settings, results):
            kept = []
        else:
            return None
        results.write()
        OVERVIEW.write(out, [folder.relative_to(out).as_posix()])

    def finish() -> None:
        take_away(folder, kept)
        OVERVIEW.show_task(out, folder, results.to_json())

    return finish


def lape_inputs(settings: LapeSettings) -> Iterable[Path]:
    """Yield the files that decide the results. The manifest is made where only the data set's own folder is given."""
    rivals, _ = choose_encoders(settings)
    folder = data_folder(settings)
    yield from sorted(folder.glob("[!.]*.tsv"))
    yield folder / AUDIO
    if settings.task.distances is not None:
        yield Path(settings.task.distances)
    for rival in rivals:
        yield from rival.files()


def lape_audio(settings: LapeSettings) -> Iterable[Path]:
    """Yield the recordings of `data_dir`. Manifests that are made here have a file that changes with theirs."""
    if settings.data_dir is not None:
        yield from (recording.audio for recording in read_recordings(settings.data_dir))


def lape_outputs(settings: LapeSettings) -> Iterable[Path]:
    """Return the files that are made; none of `task=all`, whose tasks each have their own."""
    if settings.task.members:
        return []
    return [_results_folder(settings) / name for name in ("results.json", "confusion.json", "confusion.png")]


def refresh_lape_tables(settings: LapeSettings) -> None:
    """Write the tables of all tasks again, where some are lost or lack this one."""
    OVERVIEW.refresh(Path(settings.out_dir), _results_folder(settings))


def lape_rows(settings: LapeSettings) -> Mapping[str, list[str]]:
    """Return the rows that are measured, with the sources of each."""
    return sources_of_rows(choose_encoders(settings)[0])


def choose_encoders(settings: LapeSettings) -> tuple[list[Contestant], list[dict[str, str]]]:
    """Return the encoders, and what is left out since it cannot be fine-tuned.

    Filterbanks are not stacked, since the mean over time is all that is used of them.

    Raises:
        UserError: one cannot be loaded, or is to be fine-tuned and is none of ours; or none is left.
    """
    rivals = contestants(settings.encoders, settings.baselines, FBANK_RATE)
    if settings.mode is Mode.linear:
        return rivals, []
    learning = [rival for rival in rivals if rival.name != FBANK]
    if not learning:
        raise UserError(
            "mode=finetune has nothing to fine-tune: name an encoder, e.g. encoders='{unfused: exp/unfused}'"
        )
    for rival in learning:
        if not rival.tunable:
            raise UserError(f"mode=finetune: {rival.source} cannot be fine-tuned, since it is no encoder of speechssl")
    reason = "filterbanks have no weights, so they cannot be fine-tuned"
    return learning, [{"what": rival.name, "reason": reason} for rival in rivals if rival.name == FBANK]


def _results_folder(settings: LapeSettings) -> Path:
    """Return the folder of the task's results, of which either mode has its own."""
    folder = Path(settings.out_dir) / settings.task.name
    return folder / FINETUNE if settings.mode is Mode.finetune else folder


def _finetune(
    rivals: list[Contestant],
    data: TaskData,
    divisions: list[Division],
    clips: Clips,
    settings: LapeSettings,
    results: LapeResults,
) -> bool:
    """Fine-tune and score all encoders; return whether this process is the one that writes the results."""
    # fairseq2, which trains, takes seconds to import and need not be installed for linear heads.
    try:
        from speechssl.evaluation.lape.finetune import Plan, finetune_and_score
    except ModuleNotFoundError as error:
        raise UserError(f"mode=finetune needs the package '{error.name}': pip install -e '.[train]'") from error
    plan = Plan(settings, data, divisions, clips, _results_folder(settings))
    return finetune_and_score(rivals, plan, results)


def _evaluate(
    rival: Contestant,
    data: TaskData,
    divisions: list[Division],
    clips: Clips,
    device: torch.device,
    settings: LapeSettings,
    results: LapeResults,
) -> Path:
    """Encode all clips once, then train and score all heads on the vectors; return the file that keeps those."""
    started = time.monotonic()
    encoder = rival.build()
    name = vectors_name(encoder, rival.source, data.recordings, clips.samples, device)
    file = _results_folder(settings) / VECTORS / name
    kept = VectorFile(file, encoder.dim)
    features = pooled_features(encoder, data.recordings, clips, settings.batch_seconds, device, rival.source, kept)
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
    return file
