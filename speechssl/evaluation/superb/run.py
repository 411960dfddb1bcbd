"""`speechssl evaluate benchmark=superb`: one task, all encoders side by side."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from speechssl import __version__
from speechssl.evaluation.benchmark import require_own_folder, sources_of_rows, take_away, writing_alone
from speechssl.evaluation.encoders.contestants import Contestant, contestants
from speechssl.evaluation.superb.data import PARTS, TaskData
from speechssl.evaluation.superb.groups import groups_of
from speechssl.evaluation.superb.overview import OVERVIEW
from speechssl.evaluation.superb.problems.problem import Problem
from speechssl.evaluation.superb.problems.quality import pesq_files
from speechssl.evaluation.superb.reading import columns_of, input_files, read_data, recording_columns, recordings
from speechssl.evaluation.superb.remarks import remark_warnings
from speechssl.evaluation.superb.results import BENCHMARK, PREDICTIONS, SUBMISSION, SuperbResults
from speechssl.evaluation.superb.scores import Race, kept_files, score_seeds
from speechssl.evaluation.superb.search.run import TermSearch
from speechssl.evaluation.superb.settings import ALL, SuperbSettings
from speechssl.evaluation.superb.states import FrozenEncoder, SomeStates, States
from speechssl.evaluation.superb.store import StateStore
from speechssl.evaluation.superb.tasks import PRESETS, SEARCHES, TASKS
from speechssl.evaluation.superb.training import Part, Plan
from speechssl.files import as_name, checksum
from speechssl.models.device import cpu_has_bf16, pick_device
from speechssl.progress import progress

logger = logging.getLogger(__name__)

PROTOCOL = (
    "frozen encoder; learning rate and update chosen on the validation part, by the first score; the test part read "
    "once after that"
)


def run_superb(settings: SuperbSettings) -> Callable[[], None]:
    """Evaluate all encoders in one task, and write its results and the table of all tasks in `out_dir`.

    Returns:
        what prints the results, and takes away what was kept of these trainings.
    """
    out = Path(settings.out_dir)
    require_own_folder(out, BENCHMARK)
    divisions = read_data(settings)
    for line in remark_warnings(divisions[0].remarks()):
        print(f"superb: {settings.task} {line}")
    evaluate = _evaluate_search if settings.task in SEARCHES else _evaluate_heads
    folder = out / settings.task
    with writing_alone(folder):
        results, kept = evaluate(settings, divisions)
        results.write()
        OVERVIEW.write(out, [folder.relative_to(out).as_posix()])

    def finish() -> None:
        take_away(folder, kept)
        OVERVIEW.show_task(out, folder, results.to_json())

    return finish


def superb_inputs(settings: SuperbSettings) -> Iterable[Path]:
    """Yield the files that decide the results, but for the audio."""
    yield from input_files(settings)
    if settings.lm_file:
        yield settings.lm_file
    if settings.task == "se":
        yield from pesq_files()
    for rival in _rivals(settings):
        yield from rival.files()


def superb_audio(settings: SuperbSettings) -> Iterable[Path]:
    """Return the recordings of the task."""
    return recordings(settings)


def superb_outputs(settings: SuperbSettings) -> Iterable[Path]:
    """Return files and folders that are made; none of `task=all`, whose tasks each have their own, and of `check`."""
    if settings.check or settings.task == ALL:
        return []
    folder = Path(settings.out_dir) / settings.task
    beside = [folder / PREDICTIONS, *([folder / SUBMISSION] if settings.corpus_dir is not None else [])]
    return [folder / "results.json", *beside]


def refresh_superb_tables(settings: SuperbSettings) -> None:
    """Write the tables of all tasks again, where some are lost or lack this one."""
    OVERVIEW.refresh(Path(settings.out_dir), Path(settings.out_dir) / settings.task)


def superb_rows(settings: SuperbSettings) -> Mapping[str, list[str]]:
    """Return the rows that are measured, with the sources of each."""
    return sources_of_rows(_rivals(settings))


def problem_of(settings: SuperbSettings, data: TaskData) -> Problem:
    """Return the task on its data.

    Raises:
        UserError: the task cannot be made of its labels, e.g. training lacks one of them.
    """
    options = {"lm": settings.lm_file, "width": settings.head_width, "bf16": settings.head_bf16 or None}
    given = {name: value for name, value in options.items() if value is not None}
    return TASKS[settings.task].problem(data, columns_of(settings), **given)


def plan_of(settings: SuperbSettings, seed: int) -> Plan:
    """Return how heads of a seed are trained; the learning rate is still to be chosen."""
    task = TASKS[settings.task]
    part = PRESETS[settings.preset]
    steps = settings.steps or round(task.steps * part)
    every = settings.check_every or (max(1, steps // 10) if settings.steps else round(task.check_every * part))
    return Plan(
        lr=task.published_lr,
        seed=seed,
        steps=steps,
        batch_size=settings.batch_size or task.batch_size,
        check_every=every,
        device=pick_device(settings.device),
        optimizer=task.optimizer,
        clip=task.clip,
        warmup=round(task.warmup * steps / task.steps),
        passes=task.passes,
    )


def rates_of(settings: SuperbSettings) -> list[float]:
    """Return the learning rates to choose from."""
    return list(settings.lr or TASKS[settings.task].lr)


def _rivals(settings: SuperbSettings) -> list[Contestant]:
    return contestants(settings.encoders, settings.baselines, None)


def _runs(settings: SuperbSettings, name: str) -> Path:
    """Return the folder of a row's heads that are being trained."""
    return Path(settings.out_dir) / settings.task / "runs" / as_name(name)


def _evaluate_search(settings: SuperbSettings, divisions: Sequence[TaskData]) -> tuple[SuperbResults, list[Path]]:
    """Search with the hidden states of all encoders. Nothing is kept of a search."""
    search = TermSearch(divisions[0], settings, groups_of(settings, divisions, "test_queries"))
    rivals = _rivals(settings)
    results = SuperbResults(settings, divisions, search.protocol, search.facts(), rivals)
    for rival in rivals:
        results.add(rival, *search.score(rival))
    return results, []


def _evaluate_heads(settings: SuperbSettings, divisions: Sequence[TaskData]) -> tuple[SuperbResults, list[Path]]:
    """Train and score heads on the hidden states of all encoders; return the files of the trainings, too."""
    groups = groups_of(settings, divisions, "test")
    problems = [problem_of(settings, data) for data in divisions]
    plans = [plan_of(settings, seed) for seed in settings.seeds]
    if settings.head_bf16 and not cpu_has_bf16():
        logger.warning("head_bf16=true: this processor has no bf16 instructions, so heads train slower than without it")
    facts, rivals = _facts(settings, problems[0], plans[0]), _rivals(settings)
    results = SuperbResults(settings, divisions, PROTOCOL, facts, rivals)
    kept: list[Path] = []
    for rival in rivals:
        kept += _evaluate(rival, list(zip(divisions, problems, strict=True)), settings, groups, plans, results)
    return results, kept


def _facts(settings: SuperbSettings, problem: Problem, plan: Plan) -> dict[str, Any]:
    """Return what a reader of the results should know of how the heads were trained, and of the labels."""
    task, facts = TASKS[settings.task], problem.facts()
    return {
        "metrics": list(problem.metrics),
        "lower_is_better": problem.lower_is_better,
        "steps": plan.steps,
        "batch_size": plan.batch_size,
        "lr": rates_of(settings),
        "published_lr": task.published_lr,
        **facts,
        **({"lm": checksum(settings.lm_file)} if settings.lm_file else {}),
        "notes": [*task.notes, *facts.get("notes", [])],
    }


def _evaluate(
    rival: Contestant,
    divisions: Sequence[tuple[TaskData, Problem]],
    settings: SuperbSettings,
    groups: Sequence[str],
    plans: Sequence[Plan],
    results: SuperbResults,
) -> list[Path]:
    """Compute the encoder's hidden states, or find them, then train and score all heads on them.

    Returns:
        the files that the trainings would go on from.
    """
    started = time.monotonic()
    encoder = rival.build()
    task, min_frames = TASKS[settings.task], divisions[0][1].min_frames
    frozen = FrozenEncoder(encoder, rival.source, plans[0].device, task.gain, settings.batch_seconds, min_frames)
    store = StateStore(settings.cache_dir, settings.cache_gb * 1e9)
    races = [
        Race(
            problem=problem,
            parts={part: _part(part, data, store, frozen, problem, settings) for part in PARTS},
            shape=(frozen.layers, encoder.dim),
            rates=rates_of(settings),
            groups=groups,
            folder=_runs(settings, rival.name),
            fold=data.fold,
            identity=_identity(settings, data, problem.metrics, frozen),
        )
        for data, problem in divisions
    ]
    encoded = time.monotonic()
    scores = itertools.chain.from_iterable(score_seeds(race, plans) for race in races)
    for score in progress(scores, f"heads on {rival.source}", "head", len(races) * len(plans)):
        results.add(rival, encoder, score)
    logger.info(
        "%s (%s): encoding %.1f s, heads %.1f s",
        rival.name,
        rival.source,
        encoded - started,
        time.monotonic() - encoded,
    )
    return [file for race in races for file in kept_files(race, plans)]


def _part(
    name: str, data: TaskData, store: StateStore, frozen: FrozenEncoder, problem: Problem, settings: SuperbSettings
) -> Part:
    """Return one part with its hidden states."""
    utterances = problem.pieces(name, data.parts[name], frozen.encoder.frame_rate)
    states: States
    if data.whole:
        places = {utterance.name: row for row, utterance in enumerate(data.whole)}
        whole = store.states(frozen, data.whole, problem.pooled, settings.task)
        states = SomeStates(whole, [places[utterance.name] for utterance in utterances])
    else:
        states = store.states(frozen, utterances, problem.pooled, f"{settings.task} {name}")
    balanced = name == "train" and TASKS[settings.task].balanced
    return Part(utterances, states, columns_of(settings)[0] if balanced else None)


def _identity(settings: SuperbSettings, data: TaskData, metrics: Sequence[str], frozen: FrozenEncoder) -> str:
    learnt_from = data.fingerprint(recording_columns(settings))
    task = [settings.task, list(columns_of(settings)), list(metrics), settings.head_width]
    if settings.head_bf16:
        task.append("bf16")
    facts = [__version__, task, frozen.source, frozen.identity, learnt_from]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
