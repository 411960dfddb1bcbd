"""`speechssl evaluate`."""

from dataclasses import replace

from speechssl.cli.command import Command
from speechssl.evaluation.lape.run import lape_inputs, lape_outputs, run_lape
from speechssl.evaluation.lape.settings import LapeSettings
from speechssl.evaluation.run import evaluate_inputs, evaluate_outputs, run_evaluate
from speechssl.evaluation.settings import EvaluateSettings

PROBES = Command(
    name="evaluate",
    summary="Probe frozen encoders side by side: every layer, their weighted sum, several seeds.",
    settings=EvaluateSettings,
    run=run_evaluate,
    examples=(
        "data_dir=data/mine out_dir=exp/mine/evaluate encoders='{hubert: exp/mine/hubert-seed1}'",
        "data_dir=data/mine out_dir=exp/mine/evaluate "
        "encoders='{hubert: [exp/mine/hubert-seed1, exp/mine/hubert-seed2], other: models/hubert-base}'",
        "data_dir=data/asterisk test_dir=data/asterisk_voices phones_dirs=[data/flite] labels_dir=exp/mini/units "
        "mask=fast out_dir=exp/mini/evaluate encoders='{hubert: exp/mini/hubert-seed1}'",
        "benchmark=lape task=urbansound8k corpus_dir=/corpora/UrbanSound8K out_dir=exp/lape "
        "encoders='{unfused: exp/unfused}'",
    ),
    inputs=evaluate_inputs,
    outputs=evaluate_outputs,
)

LAPE = Command(
    name="evaluate",
    config="lape",
    summary="LAPE: one class a clip, by a linear head on frozen encoders or fine-tuned ones, side by side, over seeds.",
    settings=LapeSettings,
    run=run_lape,
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
    ),
    inputs=lape_inputs,
    outputs=lape_outputs,
)

COMMAND = replace(PROBES, choice="benchmark", variants={"probes": PROBES, "lape": LAPE})
