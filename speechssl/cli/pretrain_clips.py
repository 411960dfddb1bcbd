"""`speechssl pretrain_clips`."""

from speechssl.cli.command import Command
from speechssl.training.clips.pretrain import pretrain_clips
from speechssl.training.clips.settings import PretrainClipsSettings

COMMAND = Command(
    name="pretrain_clips",
    summary="pretrain an encoder of clips on unlabelled audio: DECAR, Barlow Twins, MoCo, SimCLR, BYOL-A and relatives",
    settings=PretrainClipsSettings,
    run=pretrain_clips,
    keeps_memory=True,
    examples=(
        "data.train=data/fsd50k/train.tsv data.valid=data/fsd50k/valid.tsv objective=decar schedule.epochs=200 "
        "out=exp/decar",
        "... objective=delores_m model=efficientnet_b0 crops=different schedule.minutes=60 out=exp/delores_m",
    ),
)
