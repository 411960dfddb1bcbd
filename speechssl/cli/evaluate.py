"""`speechssl evaluate`."""

from speechssl.cli.command import Command
from speechssl.evaluation.run import evaluate_inputs, evaluate_outputs, run_evaluate
from speechssl.evaluation.settings import EvaluateSettings

COMMAND = Command(
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
    ),
    inputs=evaluate_inputs,
    outputs=evaluate_outputs,
)
