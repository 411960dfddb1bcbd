"""`speechssl export`."""

from speechssl.cli.command import Command
from speechssl.export.run import ExportSettings, export_inputs, export_outputs, run_export

COMMAND = Command(
    name="export",
    summary="Write an encoder for s3prl or Hugging Face, and compare its hidden states there with our own.",
    settings=ExportSettings,
    run=run_export,
    examples=(
        "encoder=exp/mini/hubertopic-seed1 out=exp/mini/export",
        "encoder=exp/librispeech/hubertopic-seed1 target=s3prl out=exp/librispeech/export audio=data/mini/valid.tsv",
    ),
    inputs=export_inputs,
    outputs=export_outputs,
)
