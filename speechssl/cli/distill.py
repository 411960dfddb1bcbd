"""`speechssl distill`."""

from speechssl.cli.command import Command
from speechssl.training.clips.settings import DistillSettings


def _run(settings: DistillSettings) -> None:
    # fairseq2's trainer is slow to import, and `--help` and a wrong setting do not need it.
    from speechssl.training.clips.distill import distill

    distill(settings)


COMMAND = Command(
    name="distill",
    summary="train a fresh encoder of clips on clusters by self-distillation: the third step of UnFuSeD",
    settings=DistillSettings,
    run=_run,
    keeps_memory=True,
    examples=(
        "data.train=data/esc50/train.tsv data.valid=data/esc50/valid.tsv clusters=exp/clusters out=exp/unfused",
        "... clips=256 optim.lr=0.007 distillation.detach_deepest=true out=exp/unfused",
    ),
)
