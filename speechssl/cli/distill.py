"""`speechssl distill`."""

from speechssl.cli.command import Command
from speechssl.training.clips.distill import distill
from speechssl.training.clips.settings import DistillSettings

COMMAND = Command(
    name="distill",
    summary="train a fresh encoder of clips on clusters by self-distillation: the third step of UnFuSeD",
    settings=DistillSettings,
    run=distill,
    keeps_memory=True,
    examples=(
        "data.train=data/esc50/train.tsv data.valid=data/esc50/valid.tsv clusters=exp/clusters out=exp/unfused",
        "... clips=256 optim.lr=0.007 distillation.detach_deepest=true out=exp/unfused",
    ),
)
