"""`speechssl training_part`."""

from speechssl.cli.command import Command
from speechssl.evaluation.lape.training_part import (
    TrainingPartSettings,
    training_part_audio,
    training_part_inputs,
    training_part_outputs,
    write_training_part,
)

COMMAND = Command(
    name="training_part",
    summary="list the recordings of a LAPE task without those that it tests: what may be clustered and trained on",
    settings=TrainingPartSettings,
    run=write_training_part,
    examples=("task=voxforge data_dir=data/voxforge out=data/voxforge_train",),
    inputs=training_part_inputs,
    outputs=training_part_outputs,
    audio=training_part_audio,
)
