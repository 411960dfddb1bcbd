"""`speechssl pretrain_clips`."""

from speechssl.cli.command import Command
from speechssl.training.clips.settings import PretrainClipsSettings


def _run(settings: PretrainClipsSettings) -> None:
    # fairseq2's trainer is slow to import, and `--help` and a wrong setting do not need it.
    from speechssl.training.clips.pretrain import pretrain_clips

    pretrain_clips(settings)


COMMAND = Command(
    name="pretrain_clips",
    summary="pretrain an encoder of clips on unlabelled audio: DECAR, Barlow Twins, MoCo, SimCLR, BYOL-A and relatives",
    settings=PretrainClipsSettings,
    run=_run,
    keeps_memory=True,
    examples=(
        "data.train=data/fsd50k/train.tsv data.valid=data/fsd50k/valid.tsv objective=decar schedule.epochs=200 "
        "out=exp/decar",
        "... objective=delores_m model=efficientnet_b0 crops=different schedule.minutes=60 out=exp/delores_m",
    ),
)
