"""`speechssl evaluate`."""

from dataclasses import replace

from speechssl.cli.command import Command, Finish
from speechssl.evaluation.benchmark import MAY_DIFFER
from speechssl.evaluation.hear.all_tasks import run_all_tasks as run_all_hear_tasks
from speechssl.evaluation.hear.run import (
    hear_audio,
    hear_inputs,
    hear_outputs,
    hear_rows,
    refresh_hear_tables,
    run_hear,
)
from speechssl.evaluation.hear.settings import ALL, HearSettings
from speechssl.evaluation.lape.all_tasks import run_all_tasks as run_all_lape_tasks
from speechssl.evaluation.lape.run import (
    lape_audio,
    lape_inputs,
    lape_outputs,
    lape_rows,
    refresh_lape_tables,
    run_lape,
)
from speechssl.evaluation.lape.settings import LapeSettings
from speechssl.evaluation.probes.run import evaluate_audio, evaluate_inputs, evaluate_outputs, run_evaluate
from speechssl.evaluation.probes.settings import EvaluateSettings
from speechssl.evaluation.superb.all_tasks import run_all_tasks as run_all_superb_tasks
from speechssl.evaluation.superb.check import check_tasks
from speechssl.evaluation.superb.run import (
    refresh_superb_tables,
    run_superb,
    superb_audio,
    superb_inputs,
    superb_outputs,
    superb_rows,
)
from speechssl.evaluation.superb.settings import ALL as ALL_OF_SUPERB
from speechssl.evaluation.superb.settings import SuperbSettings

PROBES = Command(
    name="evaluate",
    summary="Probe frozen encoders side by side: every layer, their weighted sum, several seeds.",
    settings=EvaluateSettings,
    run=run_evaluate,
    examples=(
        "data_dir=data/mine out_dir=exp/mine/evaluate encoders='{hubert: exp/mine/hubert-seed1}'",
        "data_dir=data/mine out_dir=exp/mine/evaluate "
        "encoders='{hubert: [exp/mine/hubert-seed1, exp/mine/hubert-seed2], other: models/hubert-base}'",
        "data_dir=data/mine out_dir=exp/mine/evaluate encoders='{hubert: exp/mine/hubert-seed1, "
        'wavlm: "s3prl:wavlm_local?ckpt=models/WavLM-Base.pt", wav2vec2: "hf:models/wav2vec2-base"}\'',
        "data_dir=data/asterisk test_dir=data/asterisk_voices phones_dirs=[data/flite] labels_dir=exp/mini/units "
        "mask=fast out_dir=exp/mini/evaluate encoders='{hubert: exp/mini/hubert-seed1}'",
        "benchmark=lape task=urbansound8k corpus_dir=/corpora/UrbanSound8K out_dir=exp/lape "
        "encoders='{unfused: exp/unfused}'",
    ),
    inputs=evaluate_inputs,
    audio=evaluate_audio,
    outputs=evaluate_outputs,
)

TASK_OF_LAPE = Command(
    name="evaluate",
    config="lape",
    summary="LAPE: one class a clip, by a linear head on frozen encoders or fine-tuned ones, side by side, over seeds.",
    settings=LapeSettings,
    run=run_lape,
    keeps_memory=True,
    examples=(
        "benchmark=lape task=urbansound8k corpus_dir=/corpora/UrbanSound8K out_dir=exp/lape "
        "encoders='{unfused: exp/unfused, hubert: [exp/mini/hubert-seed1, exp/mini/hubert-seed2]}'",
        "benchmark=lape task=esc50 data_dir=data/esc50 out_dir=exp/lape 'label_fractions=[0.01, 0.1, 1]' "
        "encoders='{unfused: exp/unfused}'",
        "benchmark=lape task=esc50 data_dir=data/esc50 out_dir=exp/lape mode=finetune 'label_fractions=[0.1, 1]' "
        "encoders='{unfused: exp/unfused}'",
        "benchmark=lape task=voxforge data_dir=data/voxforge out_dir=exp/lape-paper protocol=paper "
        "encoders='{unfused: exp/unfused}'",
        "benchmark=lape task.name=birds task.clip_seconds=5 corpus_dir=~/birds out_dir=exp/lape "
        "encoders='{unfused: exp/unfused}'",
        "benchmark=lape task=all corpus_dir=/corpora out_dir=exp/lape task.members.voxceleb1.folder=vox1 "
        "encoders='{unfused: exp/unfused, fbank_s3prl: s3prl:fbank_no_cmvn}'",
    ),
    inputs=lape_inputs,
    audio=lape_audio,
    outputs=lape_outputs,
    refresh=refresh_lape_tables,
    rows=lape_rows,
    may_differ=MAY_DIFFER,
)


def _run_lape(settings: LapeSettings) -> Finish | None:
    """Run one task, or of `task=all` each as a command of its own, which is left out where its results are there."""
    if settings.task.members:
        run_all_lape_tasks(settings, TASK_OF_LAPE.run_unless_done)
        return None
    return run_lape(settings)


LAPE = replace(TASK_OF_LAPE, run=_run_lape)

TASK_OF_HEAR = Command(
    name="evaluate",
    config="hear",
    summary="HEAR: whole recordings or events in time, by a small network on frozen encoders side by side, over seeds.",
    settings=HearSettings,
    run=run_hear,
    keeps_memory=True,
    examples=(
        "benchmark=hear task=esc50 corpus_dir=/corpora/hear out_dir=exp/hear encoders='{unfused: exp/unfused}'",
        "benchmark=hear task=dcase2016_task2 corpus_dir=/corpora/hear out_dir=exp/hear "
        "encoders='{hubert: [exp/mini/hubert-seed1, exp/mini/hubert-seed2]}'",
        "benchmark=hear task=all corpus_dir=/corpora/hear out_dir=exp/hear encoders='{unfused: exp/unfused}'",
        "benchmark=hear task=speech_commands-v0.0.2-full corpus_dir=/corpora/hear out_dir=exp/hear "
        "encoders='{unfused: exp/unfused}'",
    ),
    inputs=hear_inputs,
    audio=hear_audio,
    outputs=hear_outputs,
    refresh=refresh_hear_tables,
    rows=hear_rows,
    may_differ=MAY_DIFFER,
)


def _run_hear(settings: HearSettings) -> Finish | None:
    """Run one task, or of `task=all` each as a command of its own, which is left out where its results are there."""
    if settings.task == ALL:
        run_all_hear_tasks(settings, TASK_OF_HEAR.run_unless_done)
        return None
    return run_hear(settings)


HEAR = replace(TASK_OF_HEAR, run=_run_hear)

TASK_OF_SUPERB = Command(
    name="evaluate",
    config="superb",
    summary="SUPERB: its published heads on the weighted sum of frozen hidden states, side by side, over seeds.",
    settings=SuperbSettings,
    run=run_superb,
    examples=(
        "benchmark=superb task=ks data_dir=data/ks out_dir=exp/superb preset=quick "
        "encoders='{hubert: exp/mini/hubert-seed1, hubertopic: exp/mini/hubertopic-seed1}'",
        "benchmark=superb task=asr data_dir=data/asr out_dir=exp/superb 'groups=[gender]' "
        "encoders='{hubert: hf:models/hubert-base, filterbanks: s3prl:fbank}' 'baselines=[]'",
        "benchmark=superb task=ic data_dir=data/fsc out_dir=exp/superb 'labels=[action, object, location]' "
        "encoders='{hubert: exp/mini/hubert-seed1}'",
        "benchmark=superb task=all corpus_dir=/corpora check=true",
        "benchmark=superb task=all corpus_dir=/corpora out_dir=exp/superb encoders='{hubert: exp/mini/hubert-seed1}'",
    ),
    inputs=superb_inputs,
    audio=superb_audio,
    outputs=superb_outputs,
    refresh=refresh_superb_tables,
    rows=superb_rows,
    may_differ=MAY_DIFFER,
)


def _run_superb(settings: SuperbSettings) -> Finish | None:
    """Run one task, or of `task=all` each as a command of its own; with `check` only say what is there."""
    if settings.check:
        check_tasks(settings)
        return None
    if settings.task == ALL_OF_SUPERB:
        run_all_superb_tasks(settings, TASK_OF_SUPERB.run_unless_done)
        return None
    return run_superb(settings)


SUPERB = replace(TASK_OF_SUPERB, run=_run_superb)

COMMAND = replace(PROBES, choice="benchmark", variants={"probes": PROBES, "lape": LAPE, "hear": HEAR, "superb": SUPERB})
