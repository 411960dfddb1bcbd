"""`speechssl evaluate benchmark=hear`: one task, all encoders side by side."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from speechssl.evaluation.benchmark import require_own_folder, sources_of_rows, take_away, writing_alone
from speechssl.evaluation.encoders.baselines import FBANK_RATE
from speechssl.evaluation.encoders.contestants import Contestant, contestants
from speechssl.evaluation.hear.data import VOCABULARY, Metadata, TaskData, read_metadata, read_task, recording_files
from speechssl.evaluation.hear.features import Encoding, Reader, require_frames
from speechssl.evaluation.hear.folders import METADATA, task_folder
from speechssl.evaluation.hear.overview import OVERVIEW
from speechssl.evaluation.hear.results import BENCHMARK, HearResults
from speechssl.evaluation.hear.scores import score_task
from speechssl.evaluation.hear.settings import ALL, HearSettings
from speechssl.evaluation.hear.tasks import EventTask, SceneTask, Task
from speechssl.evaluation.vectors import VECTORS, VectorFile, vectors_name
from speechssl.models.device import pick_device
from speechssl.progress import progress

logger = logging.getLogger(__name__)


def run_hear(settings: HearSettings) -> Callable[[], None]:
    """Evaluate all encoders in one task, and write its results and the table of all tasks in `out_dir`.

    Returns:
        what prints the results, and takes away the vectors that were kept.
    """
    metadata = read_metadata(task_folder(settings.corpus_dir, settings.task))
    rivals = _rivals(settings, metadata)
    out = Path(settings.out_dir)
    require_own_folder(out, BENCHMARK)
    data = read_task(metadata, settings.workers)
    require_frames(rivals, data.recordings, metadata.events)
    folder = out / settings.task
    with writing_alone(folder):
        results = HearResults(settings, data, folder, rivals)
        reader = Reader(data.recordings, settings.batch_seconds, settings.workers)
        kept = [_evaluate(rival, data, reader, settings, results) for rival in rivals]
        results.write()
        OVERVIEW.write(out, [folder.relative_to(out).as_posix()])

    def finish() -> None:
        take_away(folder, kept)
        OVERVIEW.show_task(out, folder, results.to_json())

    return finish


def hear_inputs(settings: HearSettings) -> Iterable[Path]:
    """Yield the files that decide the results, but for the audio."""
    metadata = read_metadata(task_folder(settings.corpus_dir, settings.task))
    names = [METADATA, VOCABULARY, *(f"{split}.json" for split in metadata.splits)]
    yield from (metadata.folder / name for name in names)
    for rival in _rivals(settings, metadata):
        yield from rival.files()


def hear_audio(settings: HearSettings) -> Iterable[Path]:
    """Return the recordings of the task."""
    return recording_files(read_metadata(task_folder(settings.corpus_dir, settings.task)))


def hear_outputs(settings: HearSettings) -> Iterable[Path]:
    """Return the files that are made; of `task=all` none, since each task has its own."""
    if settings.task == ALL:
        return []
    return [Path(settings.out_dir) / settings.task / "results.json"]


def refresh_hear_tables(settings: HearSettings) -> None:
    """Write the tables of all tasks again, where some are lost or lack this one."""
    OVERVIEW.refresh(Path(settings.out_dir), Path(settings.out_dir) / settings.task)


def hear_rows(settings: HearSettings) -> Mapping[str, list[str]]:
    """Return the rows that are measured, with the sources of each."""
    return sources_of_rows(_rivals(settings, read_metadata(task_folder(settings.corpus_dir, settings.task))))


def _rivals(settings: HearSettings, metadata: Metadata) -> list[Contestant]:
    # Of events the baseline `fbank` has the rate of the first trained encoder.
    return contestants(settings.encoders, settings.baselines, None if metadata.events else FBANK_RATE)


def _evaluate(rival: Contestant, data: TaskData, reader: Reader, settings: HearSettings, results: HearResults) -> Path:
    """Encode all recordings once, then train and score all networks on what came out, which a file keeps: its path."""
    started = time.monotonic()
    encoder = rival.build()
    device = pick_device(settings.device)
    events = data.metadata.events
    name = vectors_name(encoder, rival.source, data.recordings, "frames" if events else "scenes", device)
    kept = Path(settings.out_dir) / settings.task / VECTORS / name
    encoding = Encoding(encoder, data.recordings, reader, device, rival.source, VectorFile(kept, encoder.dim))
    task = _task(encoding, data)
    encoded = time.monotonic()
    scores = score_task(task, data.divisions, data.metadata, settings)
    for score in progress(scores, f"networks on {rival.source}", "seed", len(settings.seeds)):
        results.add(rival, encoder, score)
    logger.info(
        "%s (%s): encoding %.1f s, networks %.1f s",
        rival.name,
        rival.source,
        encoded - started,
        time.monotonic() - encoded,
    )
    return kept


def _task(encoding: Encoding, data: TaskData) -> Task:
    if data.metadata.events:
        return EventTask(data, encoding.frame_states(), encoding.encoder.frame_rate)
    return SceneTask(data, encoding.scene_vectors())
